"""One of each group of texts that say nearly the same."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.graph import to_first
from sensorium.curation.selectors.threshold import refuse_count
from sensorium.curation.selectors.unique_pictures import first_of_groups
from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.errors import ConfigError


class UniqueTexts(Selector, name="unique-texts"):
    """Texts whose signatures agree in at least a share `similarity` of places are a group, of which the first is kept.

    Candidates are those that agree in a whole band of `rows` places (Leskovec, Rajaraman & Ullman, "Mining of massive
    datasets", section 3.4): of pairs with similarity s, 1 - (1 - s^rows)^bands are found. In a bucket each is
    compared with the first alone, so that a text which a million samples have costs a million comparisons.
    """

    class Config(Selector.Config):
        column: str = "minhash.signature"
        similarity: float = Field(default=0.8, gt=0, le=1)
        rows: int = Field(default=8, ge=1, description="places in a band; more are faster and find fewer")

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        refuse_count(self, count)
        column = table[self.config.column]
        signatures = column.values[column.known]
        if signatures.ndim != 2:
            raise ConfigError(f"column '{self.config.column}' holds no signatures; name one of the scorer minhash")
        pairs = [self._alike(signatures, start) for start in range(0, signatures.shape[1], self.config.rows)]
        return first_of_groups(column.known, np.concatenate(pairs))

    def _alike(self, signatures: np.ndarray, start: int) -> np.ndarray:
        """Pairs `[m, 2]` of texts that agree in a band and are similar."""
        band = np.ascontiguousarray(signatures[:, start : start + self.config.rows])
        pairs = to_first(band.view(f"V{band.itemsize * band.shape[1]}")[:, 0])
        agreeing = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
        return pairs[agreeing >= self.config.similarity]
