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
    rest = [i for i in chosen if not boxes[i].left < gutter < boxes[i].right]
    order: list[int] = []
    for cut in [*_line_by_line(boxes, spanning, line), None]:
        above = [cut is None or level(boxes[i], line) < level(boxes[cut], line) for i in rest]
        band = [i for i, is_above in zip(rest, above, strict=True) if is_above]
        rest = [i for i, is_above in zip(rest, above, strict=True) if not is_above]
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
    lefts, rights = np.array([float(box.left) for box in boxes]), np.array([float(box.right) for box in boxes])
    found: list[tuple[int, float, float]] = []
    for edge in np.unique(rights)[:-1].tolist():
        next_edge = lefts[lefts >= edge].min(initial=np.inf)
        on_left, on_right = rights <= edge, lefts >= next_edge
        crossing = int((~on_left & ~on_right).sum())
        if next_edge - edge < GUTTER * line or crossing > min(on_left.sum(), on_right.sum()):
            continue
        left, right = ([boxes[i] for i in np.flatnonzero(side).tolist()] for side in (on_left, on_right))
        if _are_columns(left, right):
            found.append((crossing, edge - next_edge, (edge + next_edge) / 2))
    return min(found)[2] if found else None


def _are_columns(left: Sequence[Box], right: Sequence[Box]) -> bool:
    if min(len(left), len(right)) < 2:
        return False
    top = max(min(box.top for box in side) for side in (left, right))
    bottom = min(max(box.bottom for box in side) for side in (left, right))
    return top < bottom and _filled(left) and _filled(right)


def _filled(side: Sequence[Box]) -> bool:
    extent = max(b.right for b in side) - min(b.left for b in side)
    return float(np.median([b.width for b in side])) >= FILLED * extent
