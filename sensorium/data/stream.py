"""What a stage reads, as streams of packed rows: row `r` of every step is a stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sensorium.data.mixture import Key, Mixture
from sensorium.data.packer import Packer
from sensorium.data.packing import Packing
from sensorium.data.quarantine import Refusal, too_many
from sensorium.data.row import Row, lay_row
from sensorium.data.share import Share
from sensorium.data.source import Source
from sensorium.data.watch import Watch
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.laid_out import LaidOut
    from sensorium.layout import Layout

Balance = Literal["samples", "tokens", "rows"]


@dataclass(frozen=True)
class Reading:
    """All that says which rows there are; it goes to the workers as it is."""

    shares: tuple[Share, ...]
    seed: int
    layout: Layout
    rows: int
    length: int
    buffer: int
    tiles: int | None = None
    packing: Packing = "fullest"
    balance: Balance = "samples"
    temperature: float | None = None
    isolated: bool = True
    blind: bool = False
    max_bad: int = 1000
    """refusals in a row's stream without a pack between them, after which it gives up"""

    @cached_property
    def opened(self) -> list[Source]:
        """The sources, which all streams of a process share."""
        return [share.source.build() for share in self.shares]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "opened"}

    def mixture(self, row: int = 0, rows: int = 1) -> Mixture:
        """The samples of a row's stream, or of all; a temperature of 1 weighs sources by their sizes, an infinite one
        not at all. Where the balance is of rows, a row has one source, and like rows are streams of it alone."""
        lengths = [len(source) for source in self.opened]
        power = 1 / self.temperature if self.temperature else 0.0
        weights = [share.weight * length**power for share, length in zip(self.shares, lengths, strict=True)]
        limits = [share.most(length) for share, length in zip(self.shares, lengths, strict=True)]
        if self.balance == "rows" and rows == self.rows:
            rows = self.rows_each
            weights = [float(number == row // rows) for number in range(len(weights))]
            row %= rows
        return Mixture(self.opened, weights, self.seed, row, rows, limits, self.balance == "tokens")

    @property
    def rows_each(self) -> int:
        """Rows of each source where the balance is of rows."""
        return self.rows // len(self.shares)

    def packer(self, refuse: Callable[[Refusal], None], row: int = 0, rows: int = 1) -> Packer:
        return Packer(
            self.mixture(row, rows),
            self.layout,
            self.length,
            self.buffer,
            refuse,
            self.blind,
            self.tiles,
            self.packing,
        )


class Stream:
    """The rows that stand at one place of every step. Streams share nothing, so who reads which does not matter."""

    def __init__(self, reading: Reading, row: int, watch: Watch | None = None) -> None:
        self.reading, self.watch = reading, watch or Watch()
        self.refused: list[Refusal] = []
        self.packer = reading.packer(self._refuse, row, reading.rows)
        self._lay, self.packer.lay = self.packer.lay, self._lay_watched

    def _refuse(self, refusal: Refusal) -> None:
        self.refused.append(refusal)
        if len(self.refused) > self.reading.max_bad:
            raise too_many(len(self.refused), self.reading.max_bad, refusal.reason)

    def _undecodable(self, laid: LaidOut, error: DataError) -> None:
        self._refuse(Refusal(laid.sample.source, {"id": laid.sample.id}, str(error)))

    def _lay_watched(self, key: Key) -> LaidOut:
        with self.watch.at("layout", key):
            return self._lay(key)

    def next_row(self) -> Packed:
        """The next row; after the last, one that holds none."""
        pack, reading = self.packer.next_pack(), self.reading
        row = None
        if pack is not None:

            def decoding(place: int) -> AbstractContextManager[None]:
                return self.watch.at("decoding", pack.keys[place])

            row = lay_row(pack.laid, reading.layout, reading.length, self._undecodable, reading.isolated, decoding)
            row = replace(row, keys=tuple(map(str, pack.keys)))
        refused, self.refused = self.refused, []
        return Packed(row, refused, self.packer.state())


@dataclass(frozen=True)
class Packed:
    """A row, what was refused on the way, and its stream's state after it."""

    row: Row | None
    refused: list[Refusal]
    state: dict[str, Any]
