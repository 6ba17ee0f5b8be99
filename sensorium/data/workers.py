"""Worker processes that read rows ahead. Their rows do not depend on how many they are, nor on whether they live."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from typing import Any

from sensorium.data.stream import Packed, Reading, Stream
from sensorium.data.watch import CELL, Place, Watch, seen
from sensorium.errors import DataError, SensoriumError

AHEAD = 2
"""Rows that are read ahead for each row of a step, beside the one that is being made."""
LIVES = 4
"""Deaths of a worker in which it neither gave a row nor showed which sample kills it, after which it is given up."""

States = dict[int, dict[str, Any]]


class Workers:
    """Worker `w` of `n` serves the rows `w`, `w + n`, ... of the rank's, in turn; it waits when its pipe and the queue
    behind it are full. `states` stay those of the rows that were given out: whoever asks for rows writes them there."""

    def __init__(self, reading: Reading, rows: Sequence[int], states: States, workers: int) -> None:
        self.workers = [_Worker(reading, list(rows[number::workers]), states) for number in range(workers)]
        self.of_row = {row: worker for worker in self.workers for row in worker.rows}

    def next_row(self, row: int) -> Packed:
        """The next of the rows at this place; they are asked for in turn."""
        return self.of_row[row].next(row)

    def close(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.close()


class _Worker:
    """A process, and a thread here that takes its rows from the pipe.

    A process that dies is begun again behind the last row that it gave, so that no row is lost or comes twice. If the
    next one dies over the same sample, too, before it gives a row, the sample is refused there from then on.
    """

    def __init__(self, reading: Reading, rows: list[int], states: Mapping[int, dict[str, Any]]) -> None:
        self.reading, self.rows, self.states = reading, rows, states
        self.deadly: dict[Place, str] = {}
        self.suspect: Place | None = None
        self.deaths = 0
        self._begin()

    def _begin(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        here, there = context.Pipe(duplex=False)
        self.cell = context.RawArray("q", CELL)
        known = {row: self.states[row] for row in self.rows if row in self.states}
        given = (self.reading, self.rows, known, there, Watch(self.cell, self.deadly))
        self.process = context.Process(target=_serve, args=given, daemon=True)
        self.process.start()
        there.close()  # so that reading ends when the worker does
        self.waiting: queue.Queue[Packed | Exception | None] = queue.Queue(AHEAD * len(self.rows))
        self.thread = threading.Thread(target=_receive, args=(here, self.waiting), daemon=True)
        self.thread.start()

    def next(self, row: int) -> Packed:
        """Its next row, which is one at this place of the step."""
        while (found := self.waiting.get()) is None:
            self._begin_again(row)
        if isinstance(found, Exception):
            raise found
        self.suspect, self.deaths = None, 0
        return found

    def _begin_again(self, row: int) -> None:
        """All that the dead process gave has been taken; it died over `row`, or between."""
        self.thread.join()
        self.process.join(5)
        if self.process.is_alive():  # it cannot tell anything any more
            self.process.kill()
            self.process.join()
        place, code = seen(self.cell), f"exit code {self.process.exitcode}"
        self.deaths += 1
        if place is not None and place == self.suspect:
            reason = f"{place}: reading it ended a worker of the loader twice ({code}); re-encode or remove the sample"
            self.deadly[place] = reason
            self.suspect, self.deaths = None, 0
        elif self.deaths == LIVES:
            last = f"; the last was at {place}" if place else ""
            raise DataError(
                f"a worker of the loader died {LIVES} times before it could give a row ({code}; -9 is often a lack of "
                f"memory{last}); go on with --resume, and fewer --workers"
            )
        else:
            warnings.warn(f"a worker of the loader died ({code}) at {place or 'no sample'}; begun again", stacklevel=2)
            self.suspect = place
        first = self.rows.index(row)
        self.rows = self.rows[first:] + self.rows[:first]
        self._begin()

    def close(self) -> None:
        while self.thread.is_alive():
            try:
                self.waiting.get(timeout=0.05)
            except queue.Empty:
                continue
        self.process.join()


def _receive(here: Connection, waiting: queue.Queue[Packed | Exception | None]) -> None:
    """Take what a worker sends until it has failed or, as None says, is gone."""
    found: Any = None
    while not isinstance(found, Exception):
        try:
            found = pickle.loads(here.recv_bytes())  # from our own worker
        except (EOFError, OSError):
            waiting.put(None)
            break
        waiting.put(found)
    here.close()


def _serve(reading: Reading, rows: Sequence[int], states: States, there: Connection, watch: Watch) -> None:
    """The life of a worker: it ends when nobody reads from its pipe any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began it decides
    try:
        streams = {row: Stream(reading, row, watch) for row in rows}
        for row, state in states.items():
            streams[row].packer.restore(state)
        for row in cycle(rows):
            there.send_bytes(pickle.dumps(streams[row].next_row(), pickle.HIGHEST_PROTOCOL))
    except (BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(errno.ENOMEM)  # as if the system had ended it: a sample that takes all memory is a deadly one
    except Exception as error:
        there.send_bytes(pickle.dumps(_portable(error, seen(watch.cell)), pickle.HIGHEST_PROTOCOL))


def _portable(error: Exception, place: Place | None) -> Exception:
    """The error as it can be told to another process: ours as they are, others with where they happened."""
    if isinstance(error, SensoriumError):
        return error
    where = f" at {place}" if place else ""
    return DataError(f"a worker of the loader failed{where}:\n" + "".join(traceback.format_exception(error)))
