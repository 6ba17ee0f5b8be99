"""Which sample comes next: a mixture of sources whose order is a pure function of seed and position."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sensorium.errors import DataError
from sensorium.sample import Sample


@dataclass(frozen=True)
class Key:
    """Where a sample of a run came from; enough to read it again."""

    source: int
    index: int


class Mixture:
    """Draws from sources in proportion to their weights, each shuffled anew every epoch.

    The next source is the one that lags most behind its share, so that proportions hold at every length and not only
    on average; the state is one counter a source. Weights count samples, before packing.
    """

    def __init__(self, sources: Sequence, weights: Sequence[float], seed: int) -> None:
        self.sources, self.seed = list(sources), seed
        self.weights = [weight / sum(weights) for weight in weights]
        self.drawn = [0] * len(self.sources)
        for number, source in enumerate(self.sources):
            if not len(source):
                raise DataError(
                    f"data.{number} ({type(source).__name__}) has no samples; check its folder and its filters"
                )

    def next_key(self) -> Key:
        total = sum(self.drawn) + 1
        source = max(range(len(self.sources)), key=lambda i: self.weights[i] * total - self.drawn[i])
        count, length = self.drawn[source], len(self.sources[source])
        self.drawn[source] += 1
        epoch, place = divmod(count, length)
        return Key(source, permuted(place, length, f"{self.seed}/{source}/{epoch}"))

    def read(self, key: Key) -> Sample:
        return self.sources[key.source][key.index]


def permuted(place: int, length: int, seed: str) -> int:
    """Where `place` goes in a random permutation of `range(length)`: a four-round Feistel network with cycle walking,
    so that a shuffle of any length needs no memory (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002)."""
    half = max(1, ((length - 1).bit_length() + 1) // 2)
    keys = _round_keys(seed)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for key in keys:
            mixed = ((right ^ key) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ ((mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 >> 32 & mask)
        place = left << half | right
        if place < length:
            return place


@lru_cache
def _round_keys(seed: str) -> list[int]:
    digest = hashlib.blake2b(seed.encode(), digest_size=32).digest()
    return [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8)]
