"""Which sample comes next: a mixture of sources whose order is a pure function of seed and position."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sensorium.errors import DataError
from sensorium.sample import Sample


@dataclass(frozen=True)
class Key:
    """Where a sample of a stage came from; enough to read it again. Written `source:index`."""

    source: int
    index: int

    def __str__(self) -> str:
        return f"{self.source}:{self.index}"


class Mixture:
    """Draws from sources in proportion to their weights, each shuffled anew every epoch.

    The next source is the one that lags most behind its share, so that proportions hold at every length and not only
    on average; the state is two counters a source. Shares are of samples, or `by_tokens`, which `told` adds up.

    Several streams of one seed share nothing and miss nothing: stream `s` of `n` takes every `n`-th place of each
    source's order, from place `s`.
    """

    def __init__(
        self,
        sources: Sequence,
        weights: Sequence[float],
        seed: int,
        stream: int = 0,
        streams: int = 1,
        limits: Sequence[int | None] | None = None,
        by_tokens: bool = False,
    ) -> None:
        self.sources, self.seed, self.stream, self.streams = list(sources), seed, stream, streams
        self.weights = [weight / sum(weights) for weight in weights]
        self.limits = list(limits or [None] * len(self.sources))
        self.drawn = [0] * len(self.sources)
        self.tokens = [0] * len(self.sources)
        self.by_tokens = by_tokens
        self.since = [0] * len(self.sources)
        for number, source in enumerate(self.sources):
            if not len(source):
                raise DataError(
                    f"data.{number} ({type(source).__name__}) has no samples; check its folder and its filters"
                )

    def next_key(self) -> Key | None:
        """The key of the next sample, or None if every source has given as many as its limit allows."""
        left = [i for i in range(len(self.sources)) if self.weights[i] and not self._spent(i)]
        if not left:
            return None
        taken = [all - before for all, before in zip(self._taken, self.since, strict=True)]
        total = sum(taken) + 1
        source = max(left, key=lambda i: self.weights[i] * total - taken[i])
        key = Key(source, self._index(source, self.drawn[source]))
        self.drawn[source] += 1
        return key

    @property
    def _taken(self) -> list[int]:
        return self.tokens if self.by_tokens else self.drawn

    def reweigh(self, weights: Sequence[float]) -> None:
        """Other proportions from here on; what was drawn before does not count for them."""
        self.weights = [weight / sum(weights) for weight in weights]
        self.since = list(self._taken)

    def state(self) -> dict[str, list[float]]:
        return {"drawn": [*self.drawn], "tokens": [*self.tokens], "weights": [*self.weights], "since": [*self.since]}

    def restore(self, state: dict[str, list[Any]]) -> None:
        self.drawn, self.tokens = list(state["drawn"]), list(state["tokens"])
        self.weights, self.since = list(state["weights"]), list(state["since"])

    def told(self, key: Key, tokens: int) -> None:
        """How long a drawn sample is."""
        self.tokens[key.source] += tokens

    def read(self, key: Key) -> Sample:
        return self.sources[key.source][key.index]

    def _spent(self, source: int) -> bool:
        limit = self.limits[source]
        return limit is not None and self.drawn[source] * self.streams + self.stream >= limit

    def _index(self, source: int, count: int) -> int:
        length = len(self.sources[source])
        epoch, place = divmod(count * self.streams + self.stream, length)
        return permuted(place, length, f"{self.seed}/{source}/{epoch}")


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
