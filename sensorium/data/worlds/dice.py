"""Chance that is the same on every machine: a generator keyed by a name, and choices built on its floats alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Random choices that are a pure function of the key.

    Only `random.Random.random()` is used: its stream for a seed is guaranteed not to change between versions of
    Python, which the algorithms of `choice`, `shuffle` and `sample` are not.

    Example: `Dice("train", 0, 17).pick(("red", "blue"))`.
    """

    __slots__ = ("unit",)

    def __init__(self, *key: object) -> None:
        digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=8).digest()
        self.unit = random.Random(int.from_bytes(digest, "little")).random
        """A float, uniform in [0, 1)."""

    def below(self, stop: int) -> int:
        """An integer, uniform in [0, stop)."""
        return int(self.unit() * stop)

    def between(self, low: int, high: int) -> int:
        """An integer, uniform in [low, high]."""
        return low + int(self.unit() * (high - low + 1))

    def span(self, low: float, high: float) -> float:
        """A float, uniform in [low, high)."""
        return low + self.unit() * (high - low)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[int(self.unit() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a uniformly random order."""
        result = list(items)
        unit = self.unit
        for i in range(len(result) - 1, 0, -1):
            j = int(unit() * (i + 1))
            result[i], result[j] = result[j], result[i]
        return result
