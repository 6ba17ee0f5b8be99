"""A selection: which samples of a source are used, and how often; a file that a recipe can train on."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sensorium.data.folder import rooted
from sensorium.data.index import Texts
from sensorium.data.source import Source
from sensorium.errors import DataError

TEXTS = "text "
"""What the names of arrays of texts begin with."""


def identity(config: Source.Config) -> str:
    """SHA-256 of what says which samples a source has: its config without its defaults and without the place of the
    folder that it reads, and the fingerprint of its files."""
    said = rooted(config, "").model_dump(mode="json", serialize_as_any=True, exclude_defaults=True)
    return hashlib.sha256(json.dumps([said, config.fingerprint()], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Selection:
    """Some samples of the source that `source` is the identity of, by their `indices`, int64 `[n]`.

    `weights`, float64 `[n]`, says how often each is used: 2.3 is twice, and a third time for three in ten. `texts` is
    what was written anew, `[n]` by the name of the column.
    """

    source: str
    indices: np.ndarray
    weights: np.ndarray | None = None
    texts: Mapping[str, Sequence[str] | Texts] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write the `.npz` file; not atomic by itself."""
        weights = np.ones(len(self.indices)) if self.weights is None else np.asarray(self.weights, np.float64)
        arrays = {"source": np.array(self.source), "indices": np.asarray(self.indices, np.int64), "weights": weights}
        for name, texts in self.texts.items():
            arrays |= Texts.pack((texts[n] for n in range(len(texts))), TEXTS + name)
        with file.open("wb") as opened:
            np.savez(opened, **arrays)  # pyright: ignore[reportArgumentType]

    @classmethod
    def read(cls, file: Path) -> Selection:
        """A `DataError` if there is no such file or it is something else."""
        if not file.is_file():
            raise DataError(f"{file}: no such selection; make it with `sensorium data select`")
        try:
            with np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            names = [name for name in arrays if name.startswith(TEXTS) and f"{name}_ends" in arrays]
            texts = {name.removeprefix(TEXTS): Texts.of(arrays, name) for name in names}
            for name, said in texts.items():
                if len(said) != len(arrays["indices"]):
                    raise ValueError(f"{len(said)} texts of '{name}' for {len(arrays['indices'])} samples")
            return cls(str(arrays["source"]), arrays["indices"], arrays["weights"], texts)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{file}: not a selection ({error}); make it again with `sensorium data select`") from None
