"""From sources to the batches of a step: rows that are streams of their own, read here or by worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sensorium.data.quarantine import Quarantine
from sensorium.data.row import Row
from sensorium.data.stream import Packed, Reading, Stream
from sensorium.data.workers import Workers
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.data.batch import Batch


@dataclass(frozen=True)
class Rank:
    """The part of a step that is this process's: its place among all (whose number divides the rows)."""

    number: int = 0
    of: int = 1

    def rows(self, total: int) -> range:
        if total % self.of:
            raise DataError(f"{total} rows cannot be shared by {self.of} ranks; make stage.rows a multiple")
        own = total // self.of
        return range(self.number * own, (self.number + 1) * own)


class Loader:
    """The steps of a stage. Which samples stand in which row of which step depends on the `reading` alone: neither the
    number of workers nor that of ranks changes it.

    The state is that of the streams of this rank; those of all ranks together are the whole. It is of the rows that
    were given out, whatever has been read ahead.
    """

    def __init__(
        self,
        reading: Reading,
        micro_rows: int,
        quarantine: Quarantine | None = None,
        stage: int = 0,
        workers: int = 0,
        rank: Rank = Rank(),
        pinned: bool = False,
    ) -> None:
        self.reading, self.micro_rows, self.stage, self.pinned = reading, micro_rows, stage, pinned
        self.quarantine = quarantine or Quarantine(None, reading.max_bad)
        self.rows = rank.rows(reading.rows)
        if len(self.rows) % micro_rows:
            raise DataError(f"{len(self.rows)} rows of a step do not divide into micro-batches of {micro_rows}")
        self.workers = min(workers, len(self.rows))
        self.states: dict[int, dict[str, Any]] = {}
        self._reader: _Here | Workers | None = None

    def next_step(self) -> list[Batch]:
        """The micro-batches of the next step; a `DataError` after the last."""
        from sensorium.data.batch import Batch  # torch, which workers need not load

        rows = [self._next_row(row) for row in self.rows]
        batches = [Batch.of(rows[i : i + self.micro_rows]) for i in range(0, len(rows), self.micro_rows)]
        return [batch.pinned() for batch in batches] if self.pinned else batches

    def _next_row(self, row: int) -> Row:
        self._reader = self._reader or self._begin()
        packed = self._reader.next_row(row)
        self.states[row] = packed.state
        self.quarantine.add(packed.refused, stage=self.stage, row=row, pack=packed.state["packs"])
        if packed.row is None:
            raise DataError(
                "the data has ended: every source has given as many samples as its limit or its repeats allow; raise "
                "them, or lower stage.steps"
            )
        return packed.row

    def _begin(self) -> _Here | Workers:
        if self.workers:
            return Workers(self.reading, self.rows, self.states, self.workers)
        return _Here(self.reading, self.rows, self.states)

    def state(self) -> dict[str, Any]:
        """A few kilobytes of JSON from which `restore` goes on exactly."""
        return {str(row): self.states[row] for row in self.rows if row in self.states}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on behind the rows after which `state` was taken, by however many ranks and workers."""
        self.close()
        self.states = {int(row): entry for row, entry in state.items() if int(row) in self.rows}
        packs = {int(row): entry["packs"] for row, entry in state.items()}
        self.quarantine.keep(
            lambda line: (
                line["stage"] < self.stage
                or (line["stage"] == self.stage and line["pack"] <= packs.get(line["row"], 0))
            )
        )

    def reweigh(self, weights: Sequence[float]) -> None:
        """Other proportions of the sources in all rows that are drawn from here on; what waits in buffers stays."""
        self.close()
        for row in self.rows:
            packer = Stream(self.reading, row).packer
            state = packer.state() | self.states.get(row, {})
            packer.mixture.restore(state)
            packer.mixture.reweigh(weights)
            self.states[row] = state | packer.mixture.state()

    def close(self) -> None:
        """Stop the workers, if there are any."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Here:
    """Reads the rows in this process, when they are asked for."""

    def __init__(self, reading: Reading, rows: Sequence[int], states: dict[int, dict[str, Any]]) -> None:
        self.streams = {row: Stream(reading, row) for row in rows}
        for row, state in states.items():
            self.streams[row].packer.restore(state)

    def next_row(self, row: int) -> Packed:
        return self.streams[row].next_row()

    def close(self) -> None:
        pass
