"""Parquet files by row: a row group is read at a time, and a few are remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.assets import need
from sensorium.data.files import Stored
from sensorium.data.index import Arrays, compact, indexed
from sensorium.data.record_table import Record, Table
from sensorium.errors import DataError, SensoriumError

REMEMBERED = 4
"""Row groups that stay in a process's memory. A row that is in none of them costs the reading of its whole group."""


class Rows(Table):
    """The rows of a parquet file."""

    def __init__(self, file: Stored, stem: str) -> None:
        self.file, self.stem = file, stem
        need("pyarrow", "data", str(file))
        self.ends = indexed([file], "row groups", lambda: _row_groups(file))["ends"]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def place(self, index: int) -> str:
        return f"{self.stem}-row-{index + 1}"

    def read(self, index: int, columns: tuple[str, ...] | None = None) -> Record:
        number = int(np.searchsorted(self.ends, index, side="right"))
        first = int(self.ends[number - 1]) if number else 0
        name = f"{self.file}, row {index + 1}"
        group = _group(self, number, columns)
        with _damage(name):  # texts become texts only here
            (fields,) = group.slice(index - first, 1).to_pylist()
        return Record(fields, name, self.place(index))


@lru_cache(REMEMBERED)
def _group(rows: Rows, number: int, columns: tuple[str, ...] | None) -> Any:
    with _opened(rows.file) as opened:
        known = None if columns is None else [name for name in columns if name in opened.schema_arrow.names]
        return opened.read_row_group(number, columns=known, use_threads=False)


def _row_groups(file: Stored) -> Arrays:
    with _opened(file) as opened:
        about = opened.metadata
        rows = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
    return {"ends": compact(np.cumsum(rows))}


@contextmanager
def _opened(file: Stored) -> Iterator[Any]:
    """The file as pyarrow reads it, and its errors as ours."""
    import pyarrow.parquet as pq

    with _damage(str(file)):
        if isinstance(file.file, Path):
            with pq.ParquetFile(file.file) as opened:
                yield opened
        else:
            with file.stream() as stream, pq.ParquetFile(stream) as opened:
                yield opened


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Whatever pyarrow stumbles over is the file's fault: it has errors of its own, and Python's for bad UTF-8."""
    try:
        yield
    except (SensoriumError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{name}: not readable as parquet ({error}); restore the file") from error
