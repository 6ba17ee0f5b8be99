"""A packed row: several laid-out samples side by side, their pictures decoded and cut. It needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sensorium.data.regions import Placed, seen_through
from sensorium.data.tiling import Cut
from sensorium.errors import DataError
from sensorium.sample import Image

if TYPE_CHECKING:
    from sensorium.laid_out import LaidOut, MediaSpan
    from sensorium.layout import Layout


@dataclass(frozen=True)
class Standing:
    """Where a picture stands in a row: at the token `start` of sample `document`, worth so many `features`."""

    start: int
    document: int
    features: int
    cut: Cut


@dataclass(frozen=True)
class Row:
    """One sequence. Its samples are numbered from 1 and cannot see each other."""

    ids: np.ndarray
    """int64 `[tokens]`"""
    supervised: np.ndarray
    """bool `[tokens]`"""
    positions: np.ndarray
    """int64 `[tokens]`, from 0 in each sample"""
    documents: np.ndarray
    """int64 `[tokens]`: the number of the sample; 0 is padding"""
    media: np.ndarray
    """bool `[tokens]`"""
    tiles: np.ndarray
    """uint8 `[tiles, 3, height, width]`; of sounds float32 `[tiles, 1, 1, samples]`"""
    tile_positions: tuple[int, ...]
    pictures: tuple[Standing, ...]
    """in order"""
    regions: tuple[Placed, ...]
    """numbered by the tiles of the row"""
    samples: tuple[str, ...]
    keys: tuple[str, ...] = ()
    """`source:index` of all that was packed, from which the row can be read again"""


def lay_row(
    row: Sequence[LaidOut],
    layout: Layout,
    length: int,
    on_bad: Callable[[LaidOut, DataError], None] | None = None,
    isolated: bool = True,
    around: Callable[[int], AbstractContextManager[None]] = nullcontext,
) -> Row:
    """Decode the pictures of a row's samples, and place all in a sequence of `length` tokens.

    A sample with a picture that cannot be decoded is told to `on_bad` and left out; without `on_bad` it is an error.
    Samples that are not `isolated` follow each other as if they were one. The pictures of sample `i` of the row are
    decoded in the context `around(i)`.
    """
    ids = np.full(length, layout.tokenizer.pad_id, dtype=np.int64)
    supervised, media = np.zeros(length, dtype=bool), np.zeros(length, dtype=bool)
    positions, documents = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.int64)
    tiles = [layout.tiling.blank()]
    tile_positions: list[int] = []
    pictures: list[Standing] = []
    regions: list[Placed] = []
    readable = _decode(row, layout, on_bad, around)
    start = 0
    for number, (laid, cut) in enumerate(readable, 1):
        end = start + len(laid)
        ids[start:end], supervised[start:end] = laid.ids, laid.supervised
        positions[start:end] = np.arange(len(laid)) if isolated else np.arange(start, end)
        media[start:end] = laid.media
        documents[start:end] = document = number if isolated else 1
        for span, tiles_of in zip(laid.spans, cut, strict=True):
            pictures.append(Standing(start + span.stands, document, span.features, span.cut))
            regions += _regions(span, layout, len(tile_positions))
            tiles.append(tiles_of)
            tile_positions += layout.tiling.positions(span.cut.plan)
        start = end
    names = tuple(laid.sample.name for laid, _ in readable)
    stacked, where = np.concatenate(tiles), tuple(tile_positions)
    media_of = tuple(pictures), tuple(regions)
    return Row(ids, supervised, positions, documents, media, stacked, where, *media_of, names)


def _regions(span: MediaSpan, layout: Layout, first: int) -> list[Placed]:
    """What is known of the parts of a picture whose first tile is number `first`."""
    known = span.segment.regions if isinstance(span.segment, Image) else ()
    views = layout.tiling.views(span.cut.size, span.cut.plan) if known else []
    return [
        Placed(first + tile, box, layout.tokenizer.encode(region.text))
        for region in known
        for tile, box in seen_through(views, region)
    ]


def _decode(
    row: Sequence[LaidOut],
    layout: Layout,
    on_bad: Callable[[LaidOut, DataError], None] | None,
    around: Callable[[int], AbstractContextManager[None]],
) -> list[tuple[LaidOut, list[np.ndarray]]]:
    """The samples of a row that can be read, each with the tiles of each of its pictures."""
    readable = []
    for place, laid in enumerate(row):
        pictures = layout.tiling.opened([span.segment for span in laid.spans], laid.sample.name)
        try:
            with around(place):
                cut = [layout.tiling.cut(one, span.cut.plan) for one, span in zip(pictures, laid.spans, strict=True)]
        except DataError as error:
            if on_bad is None:
                raise
            on_bad(laid, error)
            continue
        readable.append((laid, cut))
    return readable
