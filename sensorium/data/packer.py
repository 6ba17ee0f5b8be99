"""Packing: several samples fill one sequence, with almost no padding and no sample ever cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.data.batch import Batch, collate
from sensorium.data.mixture import Key, Mixture
from sensorium.errors import DataError
from sensorium.layout import LaidOut, Layout


class Quarantine:
    """Bad samples go to a file with their reason and are counted; past `limit` the run stops."""

    def __init__(self, file: Path | None, limit: int) -> None:
        self.file, self.limit, self.count = file, limit, 0

    def add(self, key: Key, source: str, error: DataError) -> None:
        self.count += 1
        if self.file is not None:
            with self.file.open("a") as lines:
                lines.write(json.dumps({"source": source, "index": key.index, "reason": str(error)}) + "\n")
        if self.count > self.limit:
            raise DataError(f"{self.count} bad samples, more than the limit of {self.limit}; the last: {error}")


class Packer:
    """An endless stream of packs of at most `length` tokens.

    The oldest sample of a look-ahead buffer opens the pack, so none waits for ever; then the longest that still fits
    joins until none does (best fit). A pack is read back from its keys alone, and the whole state is the mixture's
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
                self.quarantine.add(key, type(self.mixture.sources[key.source]).__name__, error)
        pack = [self.waiting.pop(0)[1]]
        room = self.length - len(pack[0])
        while fitting := [i for i, (_, laid) in enumerate(self.waiting) if len(laid) <= room]:
            best = max(fitting, key=lambda i: len(self.waiting[i][1]))
            pack.append(self.waiting.pop(best)[1])
            room -= len(pack[-1])
        return pack

    def lay(self, key: Key) -> LaidOut:
        sample = self.mixture.read(key)
        laid = self.layout(sample.blind() if self.blind else sample)
        if len(laid) > self.length:
            raise DataError(f"{sample.name}: {len(laid)} tokens do not fit a row of {self.length}; raise stage.length")
        if not laid.supervised.any():
            raise DataError(
                f"{sample.name}: nothing is supervised, so it would teach nothing; set supervise on a segment"
            )
        return laid

    def state(self) -> dict[str, Any]:
        """A few kilobytes of JSON from which `restore` goes on exactly."""
        waiting = [[key.source, key.index] for key, _ in self.waiting]
        return {"drawn": list(self.mixture.drawn), "waiting": waiting, "quarantined": self.quarantine.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.mixture.drawn = list(state["drawn"])
        self.quarantine.count = state["quarantined"]
        keys = [Key(source, index) for source, index in state["waiting"]]
        self.waiting = [(key, self.lay(key)) for key in keys]


class Loader:
    """Steps of training: `micro_batches` batches of `rows` packs each, with the packer's state after the step."""

    def __init__(self, packer: Packer, rows: int, micro_batches: int) -> None:
        self.packer, self.rows, self.micro_batches = packer, rows, micro_batches

    def next_step(self) -> list[Batch]:
        return [
            collate([self.packer.next_pack() for _ in range(self.rows)], self.packer.layout, self.packer.length)
            for _ in range(self.micro_batches)
        ]
