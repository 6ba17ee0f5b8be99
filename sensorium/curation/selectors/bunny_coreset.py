"""Bunny's coreset: one of each group of near-duplicates, then the middle of two rankings."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.clusters import ClusteredConfig, Clusters
from sensorium.curation.graph import components, similarities
from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.data.worlds.dice import Dice

Window = tuple[float, float]


class BunnyCoreset(Selector, name="bunny-coreset"):
    """The selection of Bunny-pretrain-LAION-2M (He et al., arXiv 2402.11530, section 3.1, with the numbers of
    its code): k-means; in each cluster a graph whose edges are cosines above `edge`; of each connected component the
    sample in the middle when ranked by distance to the centroid. Of these, ranked by picture-text similarity with the
    highest first, those within `score_window`; of these, ranked by their cosine to the centroid likewise, those within
    `centroid_window`; of these, `count` by chance. Samples without an embedding or score are out.
    """

    class Config(ClusteredConfig):
        score: str = Field(default="clip-score.similarity", description="the picture-text similarity")
        edge: float = Field(default=0.86, ge=-1, le=1)
        score_window: Window = (0.4, 0.6)
        centroid_window: Window = (0.15, 0.35)

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        column, score = table.vectors(self.config.column), table[self.config.score]
        known = np.flatnonzero(column.known & score.known)
        vectors = column.values[known]
        clusters = self.config.cluster(vectors)
        kept = middles(vectors, clusters, self.config.edge)
        kept = window(kept, score.values[known], self.config.score_window)
        kept = window(kept, clusters.cosines, self.config.centroid_window)
        if count is not None:
            kept = np.array(Dice("bunny", self.config.seed).shuffled(kept.tolist())[:count], dtype=np.int64)
        return np.sort(known[kept])


def middles(vectors: np.ndarray, clusters: Clusters, edge: float) -> np.ndarray:
    """Of each component of near-duplicates in a cluster the member with rank `size // 2`, the nearest to the centroid
    being rank 0. Among unit vectors the ranking by distance is that by cosine."""
    kept = []
    for members in clusters:
        order = members[np.argsort(-clusters.cosines[members], kind="stable")]
        pairs = [np.empty((0, 2), dtype=np.int64)]
        for start, block in similarities(vectors[order]):
            rows, columns = np.nonzero(block > edge)
            pairs.append(np.stack([rows + start, columns], axis=1))
        groups = components(len(order), np.concatenate(pairs))
        for group in np.unique(groups):
            inside = np.flatnonzero(groups == group)
            kept.append(order[inside[len(inside) // 2]])
    return np.array(kept, dtype=np.int64)


def window(kept: np.ndarray, values: np.ndarray, part: Window) -> np.ndarray:
    """Those of `kept` that stand between two shares of the ranking by `values`, the highest first."""
    order = kept[np.argsort(-values[kept], kind="stable")]
    return order[round(part[0] * len(order)) : round(part[1] * len(order))]
