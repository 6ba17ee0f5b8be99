"""One of each group of pictures that look alike."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sensorium.curation.graph import BLOCK, components, hamming_pairs
from sensorium.curation.selectors.threshold import refuse_count
from sensorium.curation.step import Selector
from sensorium.curation.table import Table


class UniquePictures(Selector, name="unique-pictures"):
    """Pictures whose hashes differ in at most `distance` bits, and whose thumbnails have a cosine of at least
    `cosine`, are linked; of all that are linked, directly or through others, the first is kept. Samples that have no
    hash are kept.

    Neighbours are found by multi-index hashing (Norouzi et al., arXiv 1307.2982): no pair is missed, and time grows
    with the pairs that are near in a quarter of the hash, not with all pairs. A distance of 12 or more looks each
    quarter up 697 times, one of 8 to 11 137 times, one of 4 to 7 17 times.
    """

    class Config(Selector.Config):
        hashes: str = "picture-hash.bits"
        thumbnails: str = "picture-hash.thumbnail"
        distance: int = Field(default=12, ge=0, le=15, description="bits of 64; 0 finds equal hashes alone")
        cosine: float = Field(default=0.9, ge=-1, le=1, description="-1 believes the hash")

    config: Config

    def select(self, table: Table, count: int | None = None) -> np.ndarray:
        refuse_count(self, count)
        hashes = table[self.config.hashes]
        thumbnails = table.vectors(self.config.thumbnails).values[hashes.known]
        pairs = hamming_pairs(hashes.values[hashes.known], self.config.distance)
        cosines = _cosines(thumbnails, pairs)
        plain = np.linalg.norm(thumbnails, axis=1) < 0.5  # of one colour: nothing but the hash can be compared
        blank = plain[pairs[:, 0]] & plain[pairs[:, 1]]
        return first_of_groups(hashes.known, pairs[blank | (cosines >= self.config.cosine)])


def _cosines(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of pairs `[m, 2]` of unit vectors `[n, dim]`, `[m]`, a block at a time: pairs may be many more than pictures."""
    cosines = np.empty(len(pairs), vectors.dtype)
    for start in range(0, len(pairs), BLOCK):
        left, right = pairs[start : start + BLOCK].T
        cosines[start : start + BLOCK] = (vectors[left] * vectors[right]).sum(axis=1)
    return cosines


def first_of_groups(known: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The samples that are not `known`, and of each group that `pairs` of the known ones connect the first."""
    places = np.flatnonzero(known)
    kept = ~known
    kept[places[np.unique(components(len(places), pairs))]] = True
    return np.flatnonzero(kept)
