"""From sources to the batches of a step: rows that are streams of their own, read here or by worker processes."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from sensorium.data.mixture import Mixture
from sensorium.data.packer import Packer
from sensorium.data.packing import Packing
from sensorium.data.quarantine import Quarantine, Refusal, too_many
from sensorium.data.row import Row, lay_row
from sensorium.data.share import Share
from sensorium.data.source import Source
from sensorium.errors import DataError, SensoriumError

if TYPE_CHECKING:
    from sensorium.data.batch import Batch
    from sensorium.laid_out import LaidOut
    from sensorium.layout import Layout

Balance = Literal["samples", "tokens", "rows"]
AHEAD = 2
"""Rows that are read ahead for each row of a step, beside the one that is being made."""


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

    def __init__(self, reading: Reading, row: int) -> None:
        self.reading = reading
        self.refused: list[Refusal] = []
        self.packer = reading.packer(self._refuse, row, reading.rows)

    def _refuse(self, refusal: Refusal) -> None:
        self.refused.append(refusal)
        if len(self.refused) > self.reading.max_bad:
            raise too_many(len(self.refused), self.reading.max_bad, refusal.reason)

    def _undecodable(self, laid: LaidOut, error: DataError) -> None:
        self._refuse(Refusal(laid.sample.source, {"id": laid.sample.id}, str(error)))

    def next_row(self) -> Packed:
        """The next row; after the last, one that holds none."""
        pack, reading = self.packer.next_pack(), self.reading
        row = None
        if pack is not None:
            row = lay_row(pack.laid, reading.layout, reading.length, self._undecodable, reading.isolated)
            row = replace(row, keys=tuple(map(str, pack.keys)))
        refused, self.refused = self.refused, []
        return Packed(row, refused, self.packer.state())


@dataclass(frozen=True)
class Packed:
    """A row, what was refused on the way, and its stream's state after it."""

    row: Row | None
    refused: list[Refusal]
    state: dict[str, Any]


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
        self._reader: _Here | _Workers | None = None

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

    def _begin(self) -> _Here | _Workers:
        if self.workers:
            return _Workers(self.reading, self.rows, self.states, self.workers)
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
            if row in self.states:
                packer.restore(self.states[row])
            packer.mixture.reweigh(weights)
            self.states[row] = packer.state()

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


class _Workers:
    """Reads rows ahead in processes. Worker `w` of `n` serves the rows `w`, `w + n`, ... of the rank's, in turn; it
    waits when its pipe and the queue behind it are full."""

    def __init__(self, reading: Reading, rows: Sequence[int], states: dict[int, dict[str, Any]], workers: int) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self.workers: list[_Worker] = []
        self.of_row: dict[int, _Worker] = {}
        for number in range(workers):
            own = list(rows[number::workers])
            known = {row: states[row] for row in own if row in states}
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(reading, own, known, there), daemon=True)
            process.start()
            there.close()  # so that reading ends when the worker does
            worker = _Worker(process, here, AHEAD * len(own))
            self.workers.append(worker)
            self.of_row |= dict.fromkeys(own, worker)

    def next_row(self, row: int) -> Packed:
        return self.of_row[row].next()

    def close(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.close()


class _Worker:
    """A process, and a thread here that takes its rows from the pipe."""

    def __init__(self, process: Any, here: Connection, ahead: int) -> None:
        self.process, self.here = process, here
        self.waiting: queue.Queue[Any] = queue.Queue(ahead)
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self) -> None:
        found: Any = None
        while not isinstance(found, Exception):
            try:
                found = pickle.loads(self.here.recv_bytes())  # from our own worker
            except (EOFError, OSError):
                found = DataError("")
            self.waiting.put(found)
        self.here.close()

    def next(self) -> Packed:
        found = self.waiting.get()
        if not isinstance(found, Exception):
            return found
        if str(found):
            raise found
        self.process.join(5)
        raise DataError(
            f"a worker of the loader died (exit code {self.process.exitcode}; -9 is often a lack of memory); go on "
            "with --resume, and fewer --workers"
        )

    def close(self) -> None:
        while self.thread.is_alive():
            try:
                self.waiting.get(timeout=0.05)
            except queue.Empty:
                continue
        self.process.join()


def _serve(reading: Reading, rows: Sequence[int], states: dict[int, dict[str, Any]], there: Connection) -> None:
    """The life of a worker: it ends when nobody reads from its pipe any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began it decides
    try:
        reader = _Here(reading, rows, states)
        for row in cycle(rows):
            there.send_bytes(pickle.dumps(reader.next_row(row), pickle.HIGHEST_PROTOCOL))
    except (BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        there.send_bytes(pickle.dumps(_portable(error), pickle.HIGHEST_PROTOCOL))


def _portable(error: Exception) -> Exception:
    """The error as it can be told to another process: ours as they are, others with where they happened."""
    if isinstance(error, SensoriumError):
        return error
    return DataError("a worker of the loader failed:\n" + "".join(traceback.format_exception(error)))
