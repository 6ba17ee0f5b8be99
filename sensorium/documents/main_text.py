"""Which blocks of a page are its main part, given the text that an extractor takes for it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sensorium.data.records import normal
from sensorium.documents.markup import Block, Shown

SHINGLE = 4
"""Words in a row by which a block is found again in the extracted text."""


def main_part(blocks: Sequence[Block | Shown], extracted: str) -> list[Block | Shown]:
    """The blocks whose words stand in the extracted text, the first main heading, and the pictures and captions
    beside them."""
    lines = {normal(line) for line in extracted.splitlines()}
    known = set(shingles(normal(extracted).split()))
    heading = next((b for b in blocks if isinstance(b, Block) and b.element.tag == "h1"), None)
    leads = {place: b for place, b in enumerate(blocks) if isinstance(b, Block) and not is_caption(b)}
    kept = {place for place, b in leads.items() if b is heading or _is_in(b.text, known, lines)}
    if not kept:
        return list(blocks)
    common = common_ancestor([leads[place].element.getparent() for place in kept])

    order = list(leads)

    def is_beside(place: int) -> bool:
        after = bisect(order, place)
        beside = order[max(0, after - 1) : after + 1]
        return not kept.isdisjoint(beside) and common in blocks[place].element.iterancestors()

    return [b for place, b in enumerate(blocks) if place in kept or (place not in leads and is_beside(place))]


def is_caption(block: Block) -> bool:
    """Whether a block stands under a picture: what it says is seldom taken for main text."""
    return bool(block.element.xpath("ancestor-or-self::figcaption"))


def _is_in(text: str, known: set[tuple[str, ...]], lines: set[str]) -> bool:
    words = normal(text).split()
    if len(words) < SHINGLE:
        return " ".join(words) in lines
    rows = shingles(words)
    return 2 * sum(row in known for row in rows) >= len(rows)


def shingles(words: Sequence[str]) -> list[tuple[str, ...]]:
    """All runs of `SHINGLE` words."""
    return [tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]


def common_ancestor(elements: Sequence[Any]) -> Any:
    """The lowest element that all of these are, or are below."""
    paths = [[*reversed(list(element.iterancestors())), element] for element in elements]
    return [step[0] for step in takewhile(lambda s: all(e is s[0] for e in s), zip(*paths, strict=False))][-1]
