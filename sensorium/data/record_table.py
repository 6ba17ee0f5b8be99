"""Tables: records by index, whatever file they lie in. Each kind of file is read in place, a record at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Record:
    """Named fields, and where they stand."""

    fields: dict[str, Any]
    name: str
    """opens the messages of errors: file and line"""
    place: str
    """what the record is called where it has no id of its own: the file's path in the folder, and the line"""


class Table(ABC):
    """The records of one or several files."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def place(self, index: int) -> str:
        """`Record.place` of record `index`, whether or not it can be read."""

    @abstractmethod
    def read(self, index: int, columns: tuple[str, ...] | None = None) -> Record:
        """Record `index`; with `columns`, those fields at least. A `DataError` that names its place."""


class Joined(Table):
    """Several tables, one after the other."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        self.ends = np.cumsum([len(table) for table in tables])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, index: int) -> str:
        table, at = self._find(index)
        return table.place(at)

    def read(self, index: int, columns: tuple[str, ...] | None = None) -> Record:
        table, at = self._find(index)
        return table.read(at, columns)

    def _find(self, index: int) -> tuple[Table, int]:
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self.tables[number], index - (int(self.ends[number - 1]) if number else 0)
