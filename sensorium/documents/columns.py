"""The order in which a page is read: what stands in columns is read column by column, what spans them cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GUTTER = 0.8
"""The least width of the space between columns, in heights of a line."""
FILLED = 0.4
"""The least part of its column that the median line fills: the cells of a table fill less."""


@dataclass(frozen=True)
class Box:
    """A rectangle on a page, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    def union(self, other: Box) -> Box:
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """The boxes of lines and pictures as they are read, by index.

    Where a vertical gutter parts the boxes, those that cross it cut the page into bands; a band is read from its left
    column to its right one, each ordered in the same way. Without a gutter it is read line by line.
    """
    if not boxes:
        return []
    line = float(np.median([box.height for box in boxes]))
    return _ordered(boxes, list(range(len(boxes))), line)


def level(box: Box, line: float) -> float:
    """The height at which a box is read: the middle of a line, a line's half below the top of a picture."""
    return box.top + min(box.height, line) / 2


def _ordered(boxes: Sequence[Box], chosen: list[int], line: float) -> list[int]:
    gutter = find_gutter([boxes[i] for i in chosen], line)
    if gutter is None:
        return _line_by_line(boxes, chosen, line)
    spanning = [i for i in chosen if boxes[i].left < gutter < boxes[i].right]
    rest = [i for i in chosen if i not in set(spanning)]
    order: list[int] = []
    for cut in [*_line_by_line(boxes, spanning, line), None]:
        band = [i for i in rest if cut is None or level(boxes[i], line) < level(boxes[cut], line)]
        rest = [i for i in rest if i not in set(band)]
        order += _ordered(boxes, [i for i in band if boxes[i].right <= gutter], line)
        order += _ordered(boxes, [i for i in band if boxes[i].left >= gutter], line)
        order += [] if cut is None else [cut]
    return order


def _line_by_line(boxes: Sequence[Box], chosen: list[int], line: float) -> list[int]:
    rows: list[list[int]] = []
    for i in sorted(chosen, key=lambda i: level(boxes[i], line)):
        if rows and level(boxes[i], line) - level(boxes[rows[-1][0]], line) < line / 2:
            rows[-1].append(i)
        else:
            rows.append([i])
    return [i for row in rows for i in sorted(row, key=lambda i: boxes[i].left)]


def find_gutter(boxes: Sequence[Box], line: float) -> float | None:
    """The x of the middle of the space between two columns, or None.

    It is where the fewest boxes cross, and of such places the widest: with two boxes or more on either side, beside
    each other, at least as many as cross it, and each side filled by its lines as text fills a column.
    """
    if len(boxes) < 4:
        return None
    lefts, rights = np.array([b.left for b in boxes]), np.array([b.right for b in boxes])
    best: tuple[float, float] | None = None
    gutter = None
    for x in np.unique(rights)[:-1]:
        on_left = rights <= x
        middle = (x + lefts[lefts >= x].min(initial=np.inf)) / 2
        on_right = lefts >= middle
        crossing = int((~on_left & ~on_right).sum())
        width = 2 * (middle - x)
        if not np.isfinite(width) or width < GUTTER * line or crossing > min(on_left.sum(), on_right.sum()):
            continue
        sides = [[boxes[i] for i in np.flatnonzero(side)] for side in (on_left, on_right)]
        if (best is None or (crossing, -width) < best) and _are_columns(*sides):
            best, gutter = (crossing, -width), float(middle)
    return gutter


def _are_columns(left: Sequence[Box], right: Sequence[Box]) -> bool:
    if min(len(left), len(right)) < 2:
        return False
    tops, bottoms = (
        [min(b.top for b in side) for side in (left, right)],
        [max(b.bottom for b in side) for side in (left, right)],
    )
    return max(tops) < min(bottoms) and all(_filled(side) for side in (left, right))


def _filled(side: Sequence[Box]) -> bool:
    extent = max(b.right for b in side) - min(b.left for b in side)
    return float(np.median([b.width for b in side])) >= FILLED * extent
