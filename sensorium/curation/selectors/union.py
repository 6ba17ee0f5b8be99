"""What any of several selectors keeps."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table


class Union(Selector, name="union"):
    """Samples that at least one of the selectors keeps; Open-Qwen2VL (arXiv 2504.00595) joins what DFN and what
    MLM-Filter keep. A count is for each of them."""

    class Config(Selector.Config):
        of: tuple[Selector.Config, ...] = Field(min_length=1)

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        return np.unique(np.concatenate([one.build().select(table, count) for one in self.config.of]))
