"""What is known of parts of pictures, carried over to the tiles that show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sensorium.data.tiling import Box
from sensorium.sample import Region


@dataclass(frozen=True)
class Placed:
    """A region in a tile, with the tokens of its text."""

    tile: int
    box: Box
    ids: tuple[int, ...]


def seen_through(views: Sequence[Box], region: Region) -> Iterable[tuple[int, Box]]:
    """The tiles, of those that show `views` of a picture, that show a region's middle; and its box in each."""
    left, top, right, bottom = region.box
    for tile, (x, y, end, foot) in enumerate(views):
        wide, high = end - x, foot - y
        box = (left - x) / wide, (top - y) / high, (right - x) / wide, (bottom - y) / high
        if 0 <= box[0] + box[2] < 2 and 0 <= box[1] + box[3] < 2:
            yield tile, box
