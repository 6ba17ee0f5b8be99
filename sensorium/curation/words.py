"""Text as numbers, without a tokenizer: words, runs of words, and hashes that are the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

from sensorium.data.records import normal


def words_of(text: str) -> list[str]:
    """Letters and digits in lower case."""
    return normal(text).split()


def grams(words: Sequence[str], length: int) -> Iterator[str]:
    """Every run of `length` words; a shorter text is one run."""
    for start in range(max(1, len(words) - length + 1) if words else 0):
        yield " ".join(words[start : start + length])


@lru_cache(maxsize=1 << 16)
def hashed(text: str) -> int:
    """64 bits of a text's hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
