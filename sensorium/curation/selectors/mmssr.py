"""mmSSR: the best for each capability, spread over styles."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydantic import Field

from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class MMSSR(Selector, name="mmssr"):
    """The sampler of mmSSR (Lyu et al., arXiv 2503.13383, and its released code): round after round each capability
    takes an equal part of what is still to be chosen, from samples that score above `above` in it, the highest first,
    an equal number of each style, the rarest style first. What a rare style cannot give, the next one owes. A
    capability that has no more candidates drops out.
    """

    class Config(Selector.Config):
        capabilities: tuple[str, ...] = Field(min_length=1, description="columns of scores, one a capability")
        style: str = Field(description="a column with a sample's styles, with commas between them")
        above: float = Field(default=0.0, description="a score that says a sample is of no use for a capability")

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        if count is None:
            raise ConfigError("selector 'mmssr' keeps a given number of samples; give a share or a count")
        styles = [[name.strip() for name in str(text).split(",")] for text in table[self.config.style].values]
        ranked = [self._ranked(table, name) for name in self.config.capabilities]
        chosen: set[int] = set()
        while ranked and len(chosen) < count:
            each = max((count - len(chosen)) // len(ranked), 1)
            left = []
            for candidates in ranked:
                candidates = [index for index in candidates if index not in chosen]
                chosen.update(spread(candidates, styles, min(each, count - len(chosen))))
                if candidates:
                    left.append(candidates)
            ranked = left
        return np.array(sorted(chosen), dtype=np.int64)

    def _ranked(self, table: Table, name: str) -> list[int]:
        """The samples of use for a capability, the highest score first, of equals the earlier."""
        column = table[name]
        useful = np.flatnonzero(column.known & (column.values > self.config.above))
        return useful[np.argsort(-column.values[useful], kind="stable")].tolist()


def spread(candidates: list[int], styles: list[list[str]], count: int) -> list[int]:
    """Up to `count` of the candidates, which are in the order of their scores, spread over their styles."""
    sizes = Counter(style for index in candidates for style in styles[index])
    order = sorted(sizes, key=lambda style: (sizes[style], style))
    quota, debt = max(count // max(1, len(order)), 1), 0
    chosen: dict[int, None] = {}
    for style in order:
        fresh = [index for index in candidates if style in styles[index] and index not in chosen]
        taken = fresh[: min(quota + debt, count - len(chosen))]
        debt += quota - len(taken)
        chosen.update(dict.fromkeys(taken))
    return list(chosen)
