"""A selection of another source: what curation keeps, as a source that recipes train on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.data.records import noted, share
from sensorium.data.selection import Selection, identity
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample


class Selected(Source, name="selected"):
    """The samples of `source` that a selection file names, in the file's order, repeated as its weights say.

    A file that was made for other samples (another config, or files that have changed since) is refused. Texts that
    were written anew are fields of the samples' records, by the names of their columns: `caption-mix` puts them in the
    place of what the samples say.
    """

    class Config(Source.Config):
        source: Source.Config = Field(description="what was selected from")
        selection: Path = Field(description="a file that `sensorium data select` wrote")

        def fingerprint(self) -> str | None:
            if not self.selection.is_file():
                return None
            behind = self.source.fingerprint() or ""
            return hashlib.sha256(behind.encode() + self.selection.read_bytes()).hexdigest()

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.source: Source = config.source.build()
        selection = Selection.read(config.selection)
        if selection.source != identity(config.source):
            raise DataError(
                f"{config.selection}: was made for another source than '{config.source.type_name}' as it is now; score "
                "and select again, or write the source as it was"
            )
        if len(selection.indices) and not 0 <= selection.indices.min() <= selection.indices.max() < len(self.source):
            raise DataError(f"{config.selection}: names samples beyond the source's {len(self.source)}; select again")
        self.indices, self.texts = selection.indices, selection.texts
        self.places = np.arange(len(self.indices))
        if selection.weights is not None:
            self.places = np.repeat(self.places, times(self.indices, selection.weights))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        place = int(self.places[index])
        sample = self.source[int(self.indices[place])]
        if not self.texts:
            return sample
        record = sample.meta.get("record", {})
        for name, texts in self.texts.items():
            record = noted(record if isinstance(record, dict) else {}, name, texts[place], sample.name)
        return replace(sample, meta={**sample.meta, "record": record})


def times(indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each is used, int64 `[n]`: weights rounded down or up by a hash of the index, right on average."""
    result, rest = np.floor(weights).astype(np.int64), weights % 1
    for place in np.flatnonzero(rest):
        result[place] += share(f"selected/{indices[place]}") < rest[place]
    return result
