"""Where samples come from: random access by index, so that any position of a run can be rebuilt from its key."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from sensorium.config import Part, PartConfig
from sensorium.sample import Sample


class Source(Part, family="source", package="sensorium.data.sources"):
    """A finite or practically endless list of samples. Sample `i` is a pure function of the config and `i`."""

    class Config(PartConfig):
        def fingerprint(self) -> str | None:
            """A cheap hash of the files behind the source, for a checkpoint's manifest; None where there are none and
            the config says everything."""
            return None

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Sample `index`; a `DataError` that names the sample and the fix if it cannot be read."""
