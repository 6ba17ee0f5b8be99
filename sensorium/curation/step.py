"""The two kinds of steps: scorers write columns beside the data, selectors read columns and keep samples."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from sensorium.config import Part, PartConfig
from sensorium.curation.table import Table
from sensorium.sample import Sample

Kind = Literal["number", "text", "vector", "hash", "hashes"]
"""What a column holds: a float64, a text, a float32 `[dim]`, a uint64, a uint64 `[n]`."""

Value = float | int | str | np.ndarray


class Scorer(Part, family="scorer", package="sensorium.curation.scorers"):
    """Gives each sample one value a column. The values are a function of the config, of the files it names and of the
    samples that are scored together, which are always the same."""

    version: ClassVar[int] = 1
    """Raised when the same config gives other values than before, so that kept columns are not mistaken for them."""

    class Config(PartConfig):
        label: str = Field(default="", description="what its columns are called, by default as the scorer is")
        batch: int = Field(default=64, ge=1, description="samples that are scored together")

        @property
        def name(self) -> str:
            """What comes before the dot in the names of its columns."""
            return self.label or self.type_name

        @property
        def columns(self) -> dict[str, Kind]:
            """The columns, in order."""
            raise TypeError(f"{type(self).__qualname__} must define columns")

        def behind(self) -> str | None:
            """A hash of the files that the scores depend on, a model's for example; None where there are none."""
            return None

        @property
        def digest(self) -> str:
            """SHA-256 of all that the scores depend on beside the samples: config, version and files."""
            said = [self.to_dict(), self.part.version, self.behind()]
            return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    learns: ClassVar[bool] = False
    """Whether `fit` has anything to do."""

    @classmethod
    def fit(cls, config: Any, folder: Path) -> None:
        """Learn what must be learned before the first sample, once, and write it into the new `folder`."""

    def __init__(self, config: Any, fitted: Path) -> None:
        """`fitted` is the folder that `fit` filled."""
        self.config, self.fitted = config, fitted

    def read(self, sample: Sample) -> Any:
        """What of a sample is scored, decoded; a `DataError` for one that cannot be."""
        return sample

    @abstractmethod
    def score(self, items: Sequence[Any]) -> list[tuple[Value, ...]]:
        """A row of values for each of what `read` gave."""


class Selector(Part, family="selector", package="sensorium.curation.selectors"):
    """Keeps some samples by their columns."""

    class Config(PartConfig):
        """What decides."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        """Indices of what is kept, int64, ascending: `count` samples, or as many as the selector's own bounds allow.

        A `ConfigError` if it needs a count and has none, or has no use for one.
        """
