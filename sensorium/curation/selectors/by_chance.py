"""Some samples by chance: what every other selection is compared with."""

from __future__ import annotations

import numpy as np

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.data.worlds.dice import Dice
from sensorium.errors import ConfigError


class ByChance(Selector, name="random"):
    """`count` samples by chance, the same ones at every run; all samples if there are fewer."""

    class Config(Selector.Config):
        seed: int = 0

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        if count is None:
            raise ConfigError("selector 'random' keeps a given number of samples; give a share or a count")
        order = Dice("random", self.config.seed).shuffled(list(range(len(table))))
        return np.array(sorted(order[:count]), dtype=np.int64)
