"""A selection of another source: what curation keeps, as a source that recipes train on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.data.records import share
from sensorium.data.selection import Selection, identity
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample


class Selected(Source, name="selected"):
    """The samples of `source` that a selection file names, in the file's order, repeated as its weights say.

    A file that was made for other samples (another config, or files that have changed since) is refused.
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
        self.indices = selection.indices
        if selection.weights is not None:
            self.indices = np.repeat(self.indices, times(self.indices, selection.weights))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[int(self.indices[index])]


def times(indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each is used, int64 `[n]`: weights rounded down or up by a hash of the index, right on average."""
    result, rest = np.floor(weights).astype(np.int64), weights % 1
    for place in np.flatnonzero(rest):
        result[place] += share(f"selected/{indices[place]}") < rest[place]
    return result
