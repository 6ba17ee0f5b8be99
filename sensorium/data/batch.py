"""What a model reads in one step: packed rows of tokens and the tiles of all their pictures, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sensorium.data.images import open_picture, picture_size
from sensorium.data.regions import Placed, Regions, seen_through, stack
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.layout import LaidOut, Layout, MediaSpan


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
    regions: Regions = field(default_factory=Regions)
    """what is known of parts of the tiles"""

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self) if f.name != "samples"
        }
        return replace(self, **moved)

    def names(self) -> str:
        return ", ".join(name for row in self.samples for name in row)

    @property
    def real_tokens(self) -> int:
        return int((self.documents > 0).sum())


def collate(
    rows: Sequence[Sequence[LaidOut]],
    layout: Layout,
    length: int | None = None,
    on_bad: Callable[[LaidOut, DataError], None] | None = None,
) -> Batch:
    """Rows of laid-out samples to a batch, padded to `length` (by default to the longest); media are decoded here.

    A sample with a picture that cannot be decoded is told to `on_bad` and left out; without `on_bad` it is an error.
    """
    length = length or max(sum(len(laid) for laid in row) for row in rows)
    decoded = [_decode(row, layout, on_bad) for row in rows]
    shape = (len(rows), length)
    ids = np.full(shape, layout.tokenizer.pad_id, dtype=np.int64)
    supervised, media = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    positions, documents = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    tiles: list[np.ndarray] = []
    tile_positions: list[int] = []
    regions: list[Placed] = []
    for r, row in enumerate(decoded):
        start = 0
        for number, (laid, cut) in enumerate(row, 1):
            end = start + len(laid)
            ids[r, start:end], supervised[r, start:end] = laid.ids, laid.supervised
            positions[r, start:end], documents[r, start:end] = np.arange(len(laid)), number
            tiles += cut
            for span in laid.spans:
                media[r, start + span.start : start + span.start + span.length] = True
                regions += _regions(span, layout, len(tile_positions))
                tile_positions += layout.tiling.positions(span.plan)
            start = end
    width, height = layout.tiling.input_size
    stacked = np.concatenate(tiles) if tiles else np.zeros((0, 3, height, width), dtype=np.uint8)
    return Batch(
        ids=torch.from_numpy(ids),
        supervised=torch.from_numpy(supervised),
        positions=torch.from_numpy(positions),
        documents=torch.from_numpy(documents),
        media=torch.from_numpy(media),
        tiles=torch.from_numpy(stacked),
        tile_positions=torch.tensor(tile_positions, dtype=torch.int64),
        samples=tuple(tuple(laid.sample.name for laid, _ in row) for row in decoded),
        regions=stack(regions),
    )


def _regions(span: MediaSpan, layout: Layout, first: int) -> list[Placed]:
    """What is known of the parts of a picture whose first tile is number `first`."""
    if not span.image.regions:
        return []
    views = layout.tiling.views(picture_size(span.image.source), span.plan)
    return [
        Placed(first + tile, box, layout.tokenizer.encode(region.text))
        for region in span.image.regions
        for tile, box in seen_through(views, region)
    ]


def _decode(
    row: Sequence[LaidOut], layout: Layout, on_bad: Callable[[LaidOut, DataError], None] | None
) -> list[tuple[LaidOut, list[np.ndarray]]]:
    """The samples of a row that can be read, each with the tiles of its pictures."""
    readable = []
    for laid in row:
        try:
            pictures = [open_picture(s.image.source, s.image.id or laid.sample.name) for s in laid.spans]
        except DataError as error:
            if on_bad is None:
                raise
            on_bad(laid, error)
            continue
        cut = [layout.tiling.cut(picture, s.plan) for picture, s in zip(pictures, laid.spans, strict=True)]
        readable.append((laid, cut))
    return readable
