"""Lines of a page to paragraphs: what belongs together, and words that were broken at the end of a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from sensorium.documents.columns import Box, level

PITCH = 1.6
"""A paragraph ends where the next line is further down than this, in heights of a line."""
INDENT = 1.0
"""A line that begins this much further right than the one before opens a paragraph, in heights of a line."""
TALLER = 1.25
"""Lines of heights in a greater ratio than this are not of one paragraph: headings."""
MARK = 3
"""Letters of the mark of an item of a list, at most."""
BULLETS = "•◦▪‣⁃●○■"
SOFT_HYPHEN = "\u00ad"


@dataclass(frozen=True)
class Line:
    """Text in a row without a wide gap."""

    text: str
    box: Box


def paragraphs_of(lines: Sequence[Line | None]) -> list[str | None]:
    """Lines in reading order to paragraphs. None stands for a picture: one that stands beside the lines of a paragraph
    comes after it, one between paragraphs stays there."""
    found: list[list[Line] | None] = []
    waiting = 0
    current: list[Line] = []
    for line in lines:
        if line is None:
            waiting += 1
        elif current and (_continues(current, line) or (not waiting and _goes_on_above(current, line))):
            current.append(line)
        else:
            current = [line]
            found += [*[None] * waiting, current]
            waiting = 0
    return [part and _text(part) for part in [*found, *[None] * waiting]]


def _continues(lines: Sequence[Line], line: Line) -> bool:
    """Whether a line is the next of a paragraph: near below, no taller, not indented."""
    last, height = lines[-1].box, min(lines[-1].box.height, line.box.height)
    down = level(line.box, height) - level(last, height)
    if abs(down) < height / 2:
        return line.box.left >= last.right - height
    if not _alike(last, line.box) or line.text[0] in BULLETS:
        return False
    row = [one for one in lines if abs(level(one.box, height) - level(last, height)) < height / 2]
    right = line.box.left - row[0].box.left
    if len(row) > 1 and len(row[0].text) <= MARK:  # an item: the next one begins below its mark
        right = abs(line.box.left - row[1].box.left)
    return 0 < down < PITCH * height and right < INDENT * height


def _goes_on_above(lines: Sequence[Line], line: Line) -> bool:
    """Whether a paragraph goes on in the next column or on the next page: it has no end of a sentence, and there is a
    small letter."""
    last = lines[-1]
    open_end = re.search(rf"[\w,;{SOFT_HYPHEN}-]$", last.text)
    return bool(open_end) and line.text[0].islower() and line.box.top < last.box.top and _alike(last.box, line.box)


def _alike(one: Box, other: Box) -> bool:
    return max(one.height, other.height) <= TALLER * min(one.height, other.height)


def _text(lines: Sequence[Line]) -> str:
    return reduce(join, (line.text for line in lines), "").replace(SOFT_HYPHEN, "-")


def join(text: str, more: str) -> str:
    """A line and the next one; a hyphen between a letter and a small letter goes."""
    if not text:
        return more
    if text[-1] in ("-", SOFT_HYPHEN) and more[0].islower() and text[-2:-1].isalpha():
        return text[:-1] + more
    return f"{text} {more}"
