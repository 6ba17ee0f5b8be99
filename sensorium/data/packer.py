"""Packing: several samples fill one sequence, with almost no padding and no sample ever cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sensorium.data.mixture import Key, Mixture
from sensorium.data.packing import Packing, choose
from sensorium.data.quarantine import Refusal
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.laid_out import LaidOut
    from sensorium.layout import Layout

UNBOUNDED = 1 << 62


@dataclass(frozen=True)
class Pack:
    """The samples of a row, and the keys that read them again."""

    laid: list[LaidOut]
    keys: list[Key]

    def __len__(self) -> int:
        return len(self.laid)

    def __iter__(self) -> Iterator[LaidOut]:
        return iter(self.laid)


class Packer:
    """A stream of packs of at most `length` tokens and at most `tiles` tiles; it ends when the mixture does.

    The oldest sample of a look-ahead buffer opens the pack, so none waits for ever; those that fill the rest of it best
    join. A pack is read back from its keys alone, and the whole state is the mixture's counters and the keys in the
    buffer. Samples that cannot be used are told to `refuse`.
    """

    def __init__(
        self,
        mixture: Mixture,
        layout: Layout,
        length: int,
        buffer: int,
        refuse: Callable[[Refusal], None],
        blind: bool = False,
        tiles: int | None = None,
        method: Packing = "fullest",
    ) -> None:
        self.mixture, self.layout, self.length, self.buffer = mixture, layout, length, buffer
        self.refuse, self.blind = refuse, blind
        self.tiles = tiles or UNBOUNDED
        self.method: Packing = method
        self.waiting: list[tuple[Key, LaidOut]] = []
        self.packs = 0

    def next_pack(self) -> Pack | None:
        """The next pack, or None after the last."""
        if not (self.waiting and self.method.endswith("-decreasing")):
            self._fill()
        if not self.waiting:
            return None
        items = [(len(laid), laid.tiles) for _, laid in self.waiting]
        chosen = choose(self.method, items, (self.length, self.tiles))
        pack = [self.waiting[i] for i in chosen]
        leaving = set(chosen)
        self.waiting = [entry for i, entry in enumerate(self.waiting) if i not in leaving]
        self.packs += 1
        return Pack([laid for _, laid in pack], [key for key, _ in pack])

    def _fill(self) -> None:
        while len(self.waiting) < self.buffer and (key := self.mixture.next_key()) is not None:
            if laid := self._laid(key):
                self.mixture.told(key, len(laid))
                self.waiting.append((key, laid))

    def _laid(self, key: Key) -> LaidOut | None:
        """The sample, or None if it was refused."""
        try:
            return self.lay(key)
        except DataError as error:
            self.refuse(Refusal(type(self.mixture.sources[key.source]).__name__, {"index": key.index}, str(error)))
            return None

    def lay(self, key: Key) -> LaidOut:
        sample = self.mixture.read(key)
        laid = self.layout(sample.blind() if self.blind else sample)
        if len(laid) > self.length:
            raise DataError(f"{sample.name}: {len(laid)} tokens do not fit a row of {self.length}; raise stage.length")
        if laid.tiles > self.tiles:
            raise DataError(f"{sample.name}: {laid.tiles} tiles, more than a row's {self.tiles}; raise stage.tiles")
        if not laid.supervised[1:].any():
            raise DataError(
                f"{sample.name}: nothing is supervised, so it would teach nothing; set supervise on a segment"
            )
        return laid

    def state(self) -> dict[str, Any]:
        """A few kilobytes of JSON from which `restore` goes on exactly."""
        waiting = [number for key, _ in self.waiting for number in (key.source, key.index)]
        return {"packs": self.packs, "waiting": waiting, **self.mixture.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.packs = state["packs"]
        self.mixture.restore(state)
        numbers = iter(state["waiting"])
        keys = [Key(source, index) for source, index in zip(numbers, numbers, strict=True)]
        self.waiting = [(key, laid) for key in keys if (laid := self._laid(key))]  # files may have changed or gone
