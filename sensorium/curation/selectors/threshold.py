"""Scores within bounds."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class Threshold(Selector, name="threshold"):
    """All samples whose value is within the bounds; samples without a value are out."""

    class Config(Selector.Config):
        column: str = Field(description="a column of numbers, such as mlm-filter.semantics")
        least: float = -math.inf
        most: float = math.inf

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        refuse_count(self, count)
        column = table[self.config.column]
        within = (column.values >= self.config.least) & (column.values <= self.config.most)
        return np.flatnonzero(column.known & within)


def refuse_count(selector: Selector, count: int | None) -> None:
    """A `ConfigError` if a selector that keeps what is within its bounds is given a count."""
    if count is not None:
        name = selector.config.type_name
        raise ConfigError(f"selector '{name}' keeps all that its bounds allow; leave out share and count, or chain it")
