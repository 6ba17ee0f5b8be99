"""The best by one score."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class Top(Selector, name="top"):
    """The `count` samples with the greatest values, of equals the earlier; samples without a value are out."""

    class Config(Selector.Config):
        column: str = Field(description="a column of numbers, such as dfn.similarity")

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        if count is None:
            raise ConfigError("selector 'top' keeps a given number of samples; give a share or a count")
        column = table[self.config.column]
        known = np.flatnonzero(column.known)
        order = np.argsort(-column.values[known], kind="stable")
        return np.sort(known[order[:count]])
