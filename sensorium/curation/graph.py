"""Near neighbours and groups: hashes that differ in few bits, vectors with a high cosine, connected components."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from sensorium.assets import need

BLOCK = 2048
"""Rows of a matrix of similarities that are in memory at once."""


def components(length: int, pairs: np.ndarray) -> np.ndarray:
    """The connected components of `length` nodes and edges `pairs` `[m, 2]`: for each node the smallest of its
    component, int64 `[length]`."""
    need("scipy", "curation", "finding groups")
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(length, length))
    _, labels = connected_components(edges, directed=False)
    _, first = np.unique(labels, return_index=True)
    return first[labels]


def hamming_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """All pairs `[m, 2]` of uint64 hashes that differ in at most `distance` bits, the smaller index first.

    Multi-index hashing (Norouzi, Punjani & Fleet, arXiv 1307.2982, section 3.1): of hashes so near, one of four words
    of 16 bits differs in at most a quarter of the bits; each word is looked up in a sorted list, with every such
    change. Equal hashes are each paired with the first of them alone: a thousand blank pictures are no million pairs.
    """
    unique, first = np.unique(hashes, return_index=True)
    near = [np.empty((0, 2), dtype=np.int64)]
    for word in range(4):
        words = (unique >> np.uint64(16 * word) & np.uint64(0xFFFF)).astype(np.int64)
        by_word = np.argsort(words, kind="stable")
        ordered = words[by_word]
        for change in _changes(distance // 4):
            begin = np.searchsorted(ordered, words ^ change, "left")
            end = np.searchsorted(ordered, words ^ change, "right")
            left, right = _ranges(begin, end)
            right = by_word[right]
            close = (left < right) & (bits(unique[left] ^ unique[right]) <= distance)
            near.append(np.stack([left[close], right[close]], axis=1))
    pairs = first[np.unique(np.concatenate(near), axis=0)].reshape(-1, 2)
    return np.concatenate([to_first(hashes), np.sort(pairs, axis=1)])


def to_first(values: np.ndarray) -> np.ndarray:
    """Pairs `[m, 2]` of the first of equal values with each of the others."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    pairs = np.stack([first[inverse], np.arange(len(values))], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def bits(numbers: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set."""
    return np.unpackbits(numbers.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.int64)


def _changes(most: int) -> list[int]:
    """Words of 16 bits with at most `most` bits set."""
    return [sum(1 << bit for bit in chosen) for size in range(most + 1) for chosen in combinations(range(16), size)]


def _ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, place) for every place in `begin[row] .. end[row]`."""
    counts = end - begin
    rows = np.repeat(np.arange(len(begin)), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.arange(counts.sum()) - starts + np.repeat(begin, counts)


def similarities(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, cosines `[rows, n]`) of unit vectors `[n, dim]`, a block of rows at a time."""
    for start in range(0, len(vectors), BLOCK):
        yield start, vectors[start : start + BLOCK] @ vectors.T
