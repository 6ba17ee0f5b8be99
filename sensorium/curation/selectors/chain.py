"""Selectors one after another."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table


class Chain(Selector, name="chain"):
    """Each step selects from what the one before it has left; the count is for the last."""

    class Config(Selector.Config):
        steps: tuple[Selector.Config, ...] = Field(min_length=1)

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        *first, last = self.config.steps
        kept = np.arange(len(table))
        for step in first:
            kept = kept[step.build().select(table.take(kept))]
        return kept[last.build().select(table.take(kept), count)]
