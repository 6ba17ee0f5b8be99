"""What is known of parts of pictures, carried over to the tiles that show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from sensorium.data.tiling import Box
from sensorium.sample import Region


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of tiles, a row each. A region is one of every tile that shows its middle."""

    tiles: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """int64 `[regions]`: the tile's number in the batch"""
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    """float32 `[regions, 4]`: left, top, right, bottom in parts of the tile; beyond 0 and 1 where the tile cuts it"""
    ids: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    """int64 `[regions, longest]`: the tokens of its text, -1 behind the end"""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Regions:
        return Regions(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))


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


def stack(placed: Sequence[Placed]) -> Regions:
    """The rows of a batch; their tiles are numbered through it."""
    if not placed:
        return Regions()
    longest = max(len(one.ids) for one in placed)
    return Regions(
        torch.tensor([one.tile for one in placed]),
        torch.tensor([one.box for one in placed]),
        torch.tensor([one.ids + (-1,) * (longest - len(one.ids)) for one in placed]),
    )
