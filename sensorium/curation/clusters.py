"""k-means over embeddings, as the methods that look for redundancy begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sensorium.assets import need
from sensorium.curation.step import Selector


class ClusteredConfig(Selector.Config):
    """Base of the configs of selectors that cluster embeddings."""

    column: str = Field(default="picture-features.vector", description="the embeddings")
    clusters: int = Field(default=100, ge=1, description="of k-means; fewer if there are fewer samples")
    iterations: int = Field(default=100, ge=1, description="of k-means, at most")
    seed: int = 0

    def cluster(self, vectors: np.ndarray) -> Clusters:
        """Cluster unit vectors `[n, dim]` by k-means."""
        need("sklearn", "curation", "k-means")
        from sklearn.cluster import KMeans

        number = min(self.clusters, len(vectors))
        method = KMeans(number, n_init="auto", max_iter=self.iterations, random_state=self.seed)
        labels = method.fit_predict(vectors)
        centres = method.cluster_centers_ / np.maximum(np.linalg.norm(method.cluster_centers_, axis=1)[:, None], 1e-12)
        return Clusters(labels, (vectors * centres[labels]).sum(axis=1))


@dataclass(frozen=True)
class Clusters:
    """The cluster of each vector, int `[n]`, and its cosine to the cluster's centroid, `[n]`."""

    labels: np.ndarray
    cosines: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        """The members of each cluster, ascending."""
        order = np.argsort(self.labels, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)
