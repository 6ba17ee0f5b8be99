"""Scores within bounds."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class Threshold(Selector, name="threshold"):
    """All samples whose value is within the bounds, or that have one if there are none; samples without are out."""

    class Config(Selector.Config):
        column: str = Field(description="a column, such as mlm-filter.semantics; of numbers if there are bounds")
        least: float | None = None
        most: float | None = None

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        refuse_count(self, count)
        column = table[self.config.column]
        least, most = self.config.least, self.config.most
        kept = column.known
        if least is not None:
            kept = kept & (column.values >= least)
        if most is not None:
            kept = kept & (column.values <= most)
        return np.flatnonzero(kept)


def refuse_count(selector: Selector, count: int | None) -> None:
    """A `ConfigError` if a selector that keeps what is within its bounds is given a count."""
    if count is not None:
        name = selector.config.type_name
        raise ConfigError(f"selector '{name}' keeps all that its bounds allow; leave out share and count, or chain it")
