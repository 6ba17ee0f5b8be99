"""Packing: several samples fill one sequence, with almost no padding and no sample ever cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.data.batch import Batch, collate
from sensorium.data.mixture import Key, Mixture
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.layout import LaidOut, Layout


class Quarantine:
    """Bad samples go to a file with their reason and are counted over the whole run; past `limit` the run stops."""

    def __init__(self, file: Path | None, limit: int) -> None:
        self.file, self.limit = file, limit
        self.count = len(self._lines())

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file is not None and self.file.exists() else []

    def cut_back(self, count: int) -> None:
        """Forget all but the first `count` samples: a resumed run meets the others again."""
        self.count = count
        if self.file is not None:
            self.file.write_text("".join(line + "\n" for line in self._lines()[:count]))

    def add(self, source: str, error: DataError, **where: object) -> None:
        """Note a sample of `source`, found by `where` (its index or its id)."""
        self.count += 1
        if self.file is not None:
            with self.file.open("a") as lines:
                lines.write(json.dumps({"source": source, **where, "reason": str(error)}) + "\n")
        if self.count > self.limit:
            raise DataError(f"{self.count} bad samples, more than the limit of {self.limit}; the last: {error}")


class Packer:
    """An endless stream of packs of at most `length` tokens.

    The oldest sample of a look-ahead buffer opens the pack, so none waits for ever; those that fill the rest of it best
    join. A pack is read back from its keys alone, and the whole state is the mixture's
    counters and the keys in the buffer.
    """

    def __init__(
        self, mixture: Mixture, layout: Layout, length: int, buffer: int, quarantine: Quarantine, blind: bool
    ) -> None:
        self.mixture, self.layout, self.length, self.buffer = mixture, layout, length, buffer
        self.quarantine, self.blind = quarantine, blind
        self.waiting: list[tuple[Key, LaidOut]] = []

    def __iter__(self) -> Iterator[list[LaidOut]]:
        while True:
            yield self.next_pack()

    def next_pack(self) -> list[LaidOut]:
        while len(self.waiting) < self.buffer:
            key = self.mixture.next_key()
            try:
                self.waiting.append((key, self.lay(key)))
            except DataError as error:
                self.quarantine.add(type(self.mixture.sources[key.source]).__name__, error, index=key.index)
        first = self.waiting.pop(0)[1]
        joining = fullest([len(laid) for _, laid in self.waiting], self.length - len(first))
        pack = [first, *(self.waiting[i][1] for i in joining)]
        self.waiting = [entry for i, entry in enumerate(self.waiting) if i not in joining]
        return pack

    def lay(self, key: Key) -> LaidOut:
        sample = self.mixture.read(key)
        laid = self.layout(sample.blind() if self.blind else sample)
        if len(laid) > self.length:
            raise DataError(f"{sample.name}: {len(laid)} tokens do not fit a row of {self.length}; raise stage.length")
        if not laid.supervised[1:].any():
            raise DataError(
                f"{sample.name}: nothing is supervised, so it would teach nothing; set supervise on a segment"
            )
        return laid

    def refuse(self, laid: LaidOut, error: DataError) -> None:
        """Quarantine a sample whose pictures turned out to be unreadable only when they were decoded."""
        self.quarantine.add(laid.sample.source, error, id=laid.sample.id)

    def state(self) -> dict[str, Any]:
        """A few kilobytes of JSON from which `restore` goes on exactly."""
        waiting = [[key.source, key.index] for key, _ in self.waiting]
        return {"drawn": list(self.mixture.drawn), "waiting": waiting, "quarantined": self.quarantine.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.mixture.drawn = list(state["drawn"])
        self.quarantine.cut_back(state["quarantined"])
        keys = [Key(source, index) for source, index in state["waiting"]]
        self.waiting = [(key, self.lay(key)) for key in keys]


def fullest(lengths: Sequence[int], room: int) -> list[int]:
    """The indices of the `lengths` that together fill `room` best; of equally good choices one of early indices.

    Exact: bit `n` of `sums[i]` says whether some of the first `i` lengths add up to `n`.
    """
    sums, within = [1], (1 << (room + 1)) - 1
    for length in lengths:
        sums.append((sums[-1] | sums[-1] << length) & within)
    filled, chosen = sums[-1].bit_length() - 1, []
    for i in range(len(lengths) - 1, -1, -1):
        if not sums[i] >> filled & 1:
            chosen.append(i)
            filled -= lengths[i]
    return chosen[::-1]


class Loader:
    """Steps of training: `micro_batches` batches of `rows` packs each."""

    def __init__(self, packer: Packer, rows: int, micro_batches: int) -> None:
        self.packer, self.rows, self.micro_batches = packer, rows, micro_batches

    def next_step(self) -> list[Batch]:
        return [self._batch() for _ in range(self.micro_batches)]

    def _batch(self) -> Batch:
        packer = self.packer
        return collate([packer.next_pack() for _ in range(self.rows)], packer.layout, packer.length, packer.refuse)
