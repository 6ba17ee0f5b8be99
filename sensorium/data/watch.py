"""Which sample a process is at, where another process can see it after its death.

A damaged file may end the process that decodes it, and then nothing is left to say which file it was. So a worker
writes down what it is about to read, in memory that it shares with the process that began it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sensorium.data.mixture import Key
from sensorium.errors import DataError

Doing = Literal["layout", "decoding"]
CELL = 3
"""Integers of a watch's memory: what is done, from 1, or 0 for nothing; source and index of the sample."""


@dataclass(frozen=True)
class Place:
    """What was done with which sample. A sample may be deadly in one of both alone, and is refused there alone: in
    which row it stands does not depend on what is known of it."""

    doing: Doing
    key: Key

    def __str__(self) -> str:
        return f"sample {self.key} in {self.doing}"


class Watch:
    """Notes in `cell` what is being read; refuses what is known to be `deadly`, with the reason why."""

    def __init__(self, cell: Any = None, deadly: Mapping[Place, str] | None = None) -> None:
        self.cell = [0] * CELL if cell is None else cell
        self.deadly = deadly or {}

    @contextmanager
    def at(self, doing: Doing, key: Key) -> Iterator[None]:
        """The time in which this is done, up to its end or a `DataError`: with any other error the note stays. A
        `DataError` at once if it is deadly."""
        if self.deadly and (reason := self.deadly.get(Place(doing, key))):
            raise DataError(reason)
        self.cell[1], self.cell[2] = key.source, key.index
        self.cell[0] = 1 + get_args(Doing).index(doing)
        try:
            yield
        except DataError:
            self.cell[0] = 0
            raise
        self.cell[0] = 0


def seen(cell: Any) -> Place | None:
    """What was being read when the process that wrote in the cell died."""
    doing, source, index = cell
    return Place(get_args(Doing)[doing - 1], Key(source, index)) if doing else None
