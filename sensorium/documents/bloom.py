"""A set of texts in memory of a fixed size that forgets nothing and sometimes mistakes a new text for a known one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator


class BloomFilter:
    """Bits for `capacity` texts, of which then a share of `false_positives` of the unknown seem known (Bloom, 1970);
    10 million texts at 1 % take 12 MB."""

    def __init__(self, capacity: int, false_positives: float) -> None:
        self.bits = math.ceil(capacity * -math.log(false_positives) / math.log(2) ** 2)
        self.hashes = max(1, round(self.bits / capacity * math.log(2)))
        self.memory = bytearray(-(-self.bits // 8))

    def add(self, text: str) -> None:
        for place in self._places(text):
            self.memory[place >> 3] |= 1 << (place & 7)

    def __contains__(self, text: str) -> bool:
        return all(self.memory[place >> 3] >> (place & 7) & 1 for place in self._places(text))

    def _places(self, text: str) -> Iterator[int]:
        """As many places as there are hashes, from two (Kirsch & Mitzenmacher, 2006)."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        first, step = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
        return ((first + i * step) % self.bits for i in range(self.hashes))
