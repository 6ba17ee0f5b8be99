"""What a model reads in one step: packed rows of tokens and the tiles of all their pictures, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.regions import Placed
from sensorium.data.row import Row, lay_row

if TYPE_CHECKING:
    from sensorium.layout import LaidOut, Layout


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of tiles, a row each. A region is one of every tile that shows its middle."""

    tiles: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """int64 `[regions]`: the tile's number in the batch"""
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    """float32 `[regions, 4]`: left, top, right, bottom in parts of the tile; beyond 0 and 1 where the tile cuts it"""
    ids: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    """int64 `[regions, longest]`: the tokens of its text, -1 behind the end"""

    @classmethod
    def of(cls, placed: Sequence[Placed]) -> Regions:
        if not placed:
            return cls()
        longest = max(len(one.ids) for one in placed)
        return cls(
            torch.tensor([one.tile for one in placed]),
            torch.tensor([one.box for one in placed]),
            torch.tensor([one.ids + (-1,) * (longest - len(one.ids)) for one in placed]),
        )

    def pin_memory(self) -> Regions:
        return Regions(*(getattr(self, f.name).pin_memory() for f in fields(self)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Regions:
        return Regions(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))


@dataclass(frozen=True)
class Batch:
    """`rows` sequences of `tokens`; several samples share a row and cannot see each other."""

    ids: Tensor
    """int64 `[rows, tokens]`"""
    supervised: Tensor
    """bool `[rows, tokens]`: the loss wants this token predicted"""
    positions: Tensor
    """int64 `[rows, tokens]`, from 0 in each sample"""
    documents: Tensor
    """int64 `[rows, tokens]`: the number of the sample in its row from 1; 0 is padding"""
    media: Tensor
    """bool `[rows, tokens]`: this token is a feature of a picture"""
    tiles: Tensor
    """uint8 `[tiles, 3, height, width]`, in the order in which `media` runs over rows and tokens"""
    tile_positions: Tensor
    """int64 `[tiles]`: each tile's place in its picture"""
    samples: tuple[tuple[str, ...], ...]
    """the names of the samples of each row, for error messages"""
    keys: tuple[tuple[str, ...], ...] = ()
    """`source:index` of what was packed into each row: what `sensorium data show` reads again"""
    regions: Regions = field(default_factory=Regions)
    """what is known of parts of the tiles"""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Batch:
        """Rows of the same length, one below the other; their tiles are numbered through."""

        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(row, name) for row in rows]))

        starts = np.cumsum([0] + [len(row.tiles) for row in rows])
        regions = [
            replace(one, tile=one.tile + int(start))
            for start, row in zip(starts, rows, strict=False)
            for one in row.regions
        ]
        return cls(
            ids=stacked("ids"),
            supervised=stacked("supervised"),
            positions=stacked("positions"),
            documents=stacked("documents"),
            media=stacked("media"),
            tiles=torch.from_numpy(np.concatenate([row.tiles for row in rows])),
            tile_positions=torch.tensor([at for row in rows for at in row.tile_positions], dtype=torch.int64),
            samples=tuple(row.samples for row in rows),
            keys=tuple(row.keys for row in rows),
            regions=Regions.of(regions),
        )

    def pinned(self) -> Batch:
        """In memory from which a GPU can copy while it computes."""
        return replace(self, **{name: value.pin_memory() for name, value in self._movable()})

    def to(self, device: torch.device | str) -> Batch:
        there = {name: value.to(device, non_blocking=True) for name, value in self._movable()}
        return replace(self, **there)

    def _movable(self) -> list[tuple[str, Any]]:
        found = [(f.name, getattr(self, f.name)) for f in fields(self)]
        return [(name, value) for name, value in found if isinstance(value, Tensor | Regions)]

    def names(self) -> str:
        return ", ".join(name for row in self.samples for name in row)

    @property
    def real_tokens(self) -> int:
        return int((self.documents > 0).sum())


def collate(
    rows: Sequence[Sequence[LaidOut]],
    layout: Layout,
    length: int | None = None,
) -> Batch:
    """Rows of laid-out samples to a batch, padded to `length` (by default to the longest): see `lay_row`."""
    length = length or max(sum(len(laid) for laid in row) for row in rows)
    return Batch.of([lay_row(row, layout, length) for row in rows])
