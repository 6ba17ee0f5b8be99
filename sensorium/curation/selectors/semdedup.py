"""SemDeDup: semantic duplicates by embedding, cluster by cluster."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sensorium.curation.clusters import ClusteredConfig
from sensorium.curation.graph import BLOCK
from sensorium.curation.step import Selector
from sensorium.curation.table import Table


class SemDeDup(Selector, name="semdedup"):
    """SemDeDup (Abbas et al., arXiv 2303.09540, section 3 and algorithm A7): cluster the embeddings by k-means; in each
    cluster order the samples by their cosine to its centroid, the lowest first, and remove each whose cosine with an
    earlier one is above 1 - `epsilon`. So of two duplicates the one farther from the centroid is kept. With a count,
    `epsilon` is whatever keeps as many. Samples without an embedding are kept.
    """

    class Config(ClusteredConfig):
        epsilon: float = Field(default=0.05, ge=0, le=2)
        keep: Literal["farthest", "nearest"] = Field(default="farthest", description="of duplicates; from the centroid")

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        column = table.vectors(self.config.column)
        redundancy = np.full(len(table), -np.inf)
        redundancy[column.known] = self.redundancy(column.values[column.known])
        if count is None:
            return np.flatnonzero(redundancy <= 1 - self.config.epsilon)
        return np.sort(np.argsort(redundancy, kind="stable")[:count])

    def redundancy(self, vectors: np.ndarray) -> np.ndarray:
        """For each unit vector `[n, dim]` its greatest cosine with one that comes before it in its cluster, `[n]`."""
        clusters = self.config.cluster(vectors)
        sign = 1 if self.config.keep == "farthest" else -1
        result = np.full(len(vectors), -np.inf)
        for members in clusters:
            # equal pictures may differ in the last bits of their cosine: the first of them is kept
            order = members[np.argsort(sign * clusters.cosines[members].round(6), kind="stable")]
            result[order] = before(vectors[order])
        return result


def before(vectors: np.ndarray) -> np.ndarray:
    """For each unit vector its greatest cosine with an earlier one, `[n]`; -inf for the first."""
    result = np.full(len(vectors), -np.inf)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors[: start + BLOCK].T
        block[np.triu_indices(len(block), start, block.shape[1])] = -np.inf
        result[start : start + BLOCK] = block.max(axis=1)
    return result
