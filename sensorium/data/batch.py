"""What a model reads in one step: packed rows of tokens and the tiles of all their pictures, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sensorium.data.regions import Placed
from sensorium.data.row import Row, lay_row
from sensorium.data.tiling import Cut

if TYPE_CHECKING:
    from sensorium.laid_out import LaidOut
    from sensorium.layout import Layout


def _none() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of tiles, a row each. A region is one of every tile that shows its middle."""

    tiles: Tensor = field(default_factory=_none)
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
        return _moved(self, lambda value: value.pin_memory())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Regions:
        return _moved(self, lambda value: value.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Pictures:
    """The pictures of a batch, in the order of its tiles: row by row, token by token."""

    rows: Tensor = field(default_factory=_none)
    """int64 `[pictures]`"""
    starts: Tensor = field(default_factory=_none)
    """int64 `[pictures]`: the token at which each stands, or before which it stands if it takes no place"""
    documents: Tensor = field(default_factory=_none)
    """int64 `[pictures]`: the number of its sample in the row"""
    features: Tensor = field(default_factory=_none)
    """int64 `[pictures]`: how many features each is worth"""
    tile_positions: Tensor = field(default_factory=_none)
    """int64 `[tiles]`: each tile's place in its picture"""
    cuts: tuple[Cut, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Pictures:
        standing = [(number, one) for number, row in enumerate(rows) for one in row.pictures]
        columns = [[row, one.start, one.document, one.features] for row, one in standing]
        places = [place for row in rows for place in row.tile_positions]
        row, start, document, features = torch.tensor(columns, dtype=torch.int64).reshape(-1, 4).unbind(1)
        cuts = tuple(one.cut for _, one in standing)
        return cls(row, start, document, features, torch.tensor(places, dtype=torch.int64), cuts)

    def __len__(self) -> int:
        return len(self.cuts)

    def of_tiles(self) -> Tensor:
        """int64 `[tiles]`: the number of the picture that each tile is of."""
        counts = torch.tensor([cut.plan.tiles for cut in self.cuts], dtype=torch.int64)
        return torch.repeat_interleave(counts).to(self.rows.device)

    def pin_memory(self) -> Pictures:
        return _moved(self, lambda value: value.pin_memory())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Pictures:
        return _moved(self, lambda value: value.to(device, non_blocking=non_blocking))


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
    """bool `[rows, tokens]`: a feature of a picture stands here"""
    tiles: Tensor
    """uint8 `[tiles, 3, height, width]`, of sounds float32 `[tiles, 1, 1, samples]`, in the order in which `media` runs
    over rows and tokens"""
    pictures: Pictures
    """which tiles are of which picture, and where it stands"""
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
            pictures=Pictures.of(rows),
            samples=tuple(row.samples for row in rows),
            keys=tuple(row.keys for row in rows),
            regions=Regions.of(regions),
        )

    def pinned(self) -> Batch:
        """In memory from which a GPU can copy while it computes."""
        return _moved(self, lambda value: value.pin_memory())

    def to(self, device: torch.device | str) -> Batch:
        return _moved(self, lambda value: value.to(device, non_blocking=True))

    def differs_from(self, other: Batch) -> list[str]:
        """The names of what is not the same to the bit."""
        return _different(self, other)

    def samples_of_tokens(self) -> Tensor:
        """int64 `[rows, tokens]`: a number for each token's sample, the same in `samples_of_pictures`; they rise from
        row to row and within it. What is padding has one, too."""
        rows = torch.arange(len(self.documents), device=self.documents.device)[:, None]
        return self.documents + rows * self._most

    def samples_of_pictures(self) -> Tensor:
        """int64 `[pictures]`: the number of each picture's sample."""
        return self.pictures.documents + self.pictures.rows * self._most

    @property
    def _most(self) -> int:
        """More than there are samples in any row."""
        return int(self.documents.max()) + 1

    def told(self) -> Tensor:
        """int64 `[samples]`: the numbers of the samples that have both a picture and a supervised token, in order."""
        pictured, told = self.samples_of_pictures().unique(), self.samples_of_tokens()[self.supervised].unique()
        return pictured[torch.isin(pictured, told)]

    def instructions(self, count: int, placeholder: int | None = None) -> tuple[Tensor, Tensor]:
        """What is asked of each picture: int64 `[pictures, count]`, the first tokens of its sample's text that stand
        before everything supervised there, marks included; and bool of the same shape, true where there is one. With
        `placeholder`, that id is among them once for each picture, where its first feature stands.

        Nothing from the first supervised token on is among them: neither what is to be predicted, nor a later question
        that an earlier reply must not know."""
        before = torch.arange(self.ids.shape[1], device=self.ids.device) - self.positions
        told = _since(self.supervised, before) == 0
        ids, shown = self.ids, self._with_placeholders(placeholder)
        if placeholder is not None:
            ids = ids.masked_fill(shown, placeholder)
        asked = told & (~self.media | shown) & (self.documents > 0)
        rank = _since(asked, before)
        chosen = asked & (rank <= count)
        row = torch.arange(len(self.ids), device=self.ids.device)[:, None].expand_as(self.ids)
        place = row[chosen], self.documents[chosen], rank[chosen] - 1
        table = self.ids.new_zeros(len(self.ids), int(self.documents.max()) + 1, count)
        known = torch.zeros_like(table, dtype=torch.bool)
        table[place], known[place] = ids[chosen], True
        pictured = self.pictures.rows, self.pictures.documents
        return table[pictured], known[pictured]

    def _with_placeholders(self, placeholder: int | None) -> Tensor:
        """bool `[rows, tokens]`: where the first feature of each picture stands, if a placeholder does so for it."""
        shown = torch.zeros_like(self.media)
        places = self.media.flatten().nonzero()[:, 0]
        if placeholder is not None and len(places):
            begin = self.pictures.rows * self.ids.shape[1] + self.pictures.starts
            shown.view(-1)[places[torch.searchsorted(places, begin)]] = True
        return shown

    def names_of(self, samples: Tensor) -> list[str]:
        """The names of samples, int64 `[n]` numbers as `told` gives them."""
        return [self.samples[number // self._most][number % self._most - 1] for number in samples.tolist()]

    def names(self) -> str:
        return ", ".join(name for row in self.samples for name in row)

    @property
    def real_tokens(self) -> int:
        return int((self.documents > 0).sum())


def _since(marked: Tensor, starts: Tensor) -> Tensor:
    """For each token, how many of its sample up to itself are `marked`; its sample begins at the token `starts`."""
    counts = marked.long().cumsum(1)
    return counts - (counts - marked.long()).gather(1, starts)


T = TypeVar("T", Batch, Pictures, Regions)


def _moved(held: T, move: Callable[[Any], Any]) -> T:
    """The same with all its tensors moved."""
    found = {f.name: getattr(held, f.name) for f in fields(held)}
    return replace(
        held, **{name: move(value) for name, value in found.items() if isinstance(value, Tensor | Regions | Pictures)}
    )


def _different(one: T, other: T) -> list[str]:
    found = []
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if isinstance(a, Regions | Pictures):
            found += [f"{f.name}.{name}" for name in _different(a, b)]  # type: ignore[type-var]
        elif not (torch.equal(a, b) if isinstance(a, Tensor) else a == b):
            found.append(f.name)
    return found


def collate(
    rows: Sequence[Sequence[LaidOut]],
    layout: Layout,
    length: int | None = None,
) -> Batch:
    """Rows of laid-out samples to a batch, padded to `length` (by default to the longest): see `lay_row`."""
    length = length or max(sum(len(laid) for laid in row) for row in rows)
    return Batch.of([lay_row(row, layout, length) for row in rows])
