"""Scores within bounds."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field, model_validator

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class Threshold(Selector, name="threshold"):
    """All samples whose value is within the bounds; samples without a value are out."""

    class Config(Selector.Config):
        column: str = Field(description="a column of numbers, such as mlm-filter.semantics")
        least: float | None = None
        most: float | None = None

        @model_validator(mode="after")
        def _bounded(self) -> Threshold.Config:
            if self.least is None and self.most is None:
                raise ValueError("give least, most or both")
            return self

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        refuse_count(self, count)
        column = table[self.config.column]
        least, most = self.config.least, self.config.most
        low = -math.inf if least is None else least
        high = math.inf if most is None else most
        return np.flatnonzero(column.known & (column.values >= low) & (column.values <= high))


def refuse_count(selector: Selector, count: int | None) -> None:
    """A `ConfigError` if a selector that keeps what is within its bounds is given a count."""
    if count is not None:
        name = selector.config.type_name
        raise ConfigError(f"selector '{name}' keeps all that its bounds allow; leave out share and count, or chain it")
