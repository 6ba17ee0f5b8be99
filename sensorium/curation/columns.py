"""Columns on disk: parquet files beside the data, one a chunk of samples, each there whole or not at all.

A scorer's columns for a source are a folder `NAME-KEY`. The key is a hash of the source (its config and the fingerprint
of its files), the scorer's config and version, and the files behind it; when any of them changes, so does the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sensorium.assets import need
from sensorium.atomic import write_file, write_with
from sensorium.curation.arrow import to_arrays, to_column
from sensorium.curation.step import Scorer, Value
from sensorium.curation.table import Column, Table
from sensorium.data.selection import identity
from sensorium.data.source import Source
from sensorium.errors import DataError

ABOUT, QUARANTINE, REFUSED = "about.json", "quarantine.jsonl", "refused"


@dataclass(frozen=True)
class About:
    """What a folder of columns says of itself."""

    name: str
    key: str
    source: str
    scorer: dict[str, Any]
    columns: dict[str, str]
    length: int
    chunk: int


def key_of(source: Source.Config, scorer: Scorer.Config) -> tuple[str, str]:
    """What says which samples there are, and what says which values they have."""
    who = identity(source)
    return who, hashlib.sha256(f"{who}/{scorer.digest}".encode()).hexdigest()[:16]


class Columns:
    """One scorer's columns for one source."""

    def __init__(self, folder: Path, about: About) -> None:
        need("pyarrow", "curation", "a folder of columns")
        self.folder, self.about = folder, about

    @classmethod
    def of(cls, out: Path, source: Source.Config, scorer: Scorer.Config, chunk: int) -> Columns:
        """The columns in `out`, begun if they are not there; those that are begun keep the chunks they have."""
        who, key = key_of(source, scorer)
        folder = out / f"{scorer.name}-{key}"
        if (folder / ABOUT).is_file():
            return cls.at(folder)
        kinds: dict[str, str] = dict(scorer.columns)
        about = About(scorer.name, key, who, scorer.to_dict(), kinds, len(source.build()), chunk)
        write_file(folder / ABOUT, json.dumps(asdict(about), indent=2))
        return cls(folder, about)

    @classmethod
    def at(cls, folder: Path) -> Columns:
        """The columns in a folder; a `DataError` if they cannot be understood."""
        try:
            return cls(folder, About(**json.loads((folder / ABOUT).read_text())))
        except (ValueError, TypeError) as error:
            raise DataError(f"{folder / ABOUT}: does not describe columns ({error}); remove the folder") from None

    def starts(self) -> range:
        """The first sample of each chunk."""
        return range(0, self.about.length, self.about.chunk)

    def missing(self) -> list[int]:
        """The chunks that have not been scored."""
        return [start for start in self.starts() if not self._file(start).is_file()]

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:010}.parquet"

    def write(self, start: int, rows: Sequence[tuple[Value, ...] | str]) -> None:
        """A chunk: a row of values for each sample, or why it has none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = to_arrays([None if isinstance(row, str) else row for row in rows], self.about.columns)
        arrays[REFUSED] = pa.array([row if isinstance(row, str) else None for row in rows], pa.string())
        write_with(self._file(start), lambda file: pq.write_table(pa.table(arrays), file))

    def read(self) -> Table:
        """All columns, named `scorer.column`; a `DataError` if chunks are missing."""
        if missing := self.missing():
            done = f"{len(self.starts()) - len(missing)} of {len(self.starts())} chunks"
            raise DataError(f"{self.folder}: has {done}; go on with `sensorium data score`")
        table = self._read(list(self.about.columns))
        columns = {
            f"{self.about.name}.{name}": to_column(table.column(name), kind)
            for name, kind in self.about.columns.items()
        }
        return Table(columns, self.about.length)

    def _read(self, names: list[str]) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        done = [self._file(start) for start in self.starts() if self._file(start).is_file()]
        return pa.concat_tables([pq.read_table(file, columns=names) for file in done]) if done else pa.table({})

    def refusals(self) -> Iterator[tuple[int, str]]:
        """(index, reason) of the samples that have no values, as far as they have been read."""
        missing = set(self.missing())
        done = [start for start in self.starts() if start not in missing]
        reasons = iter(self._read([REFUSED]).column(REFUSED).to_pylist() if done else ())
        for start in done:
            for index in range(start, min(start + self.about.chunk, self.about.length)):
                if (reason := next(reasons)) is not None:
                    yield index, reason

    def write_quarantine(self) -> int:
        """Write what was refused as JSON lines, if anything was; returns how many there are."""
        lines = [json.dumps({"index": index, "reason": reason}) + "\n" for index, reason in self.refusals()]
        if lines:
            write_file(self.folder / QUARANTINE, "".join(lines))
        return len(lines)


def read_table(out: Path, sources: Sequence[Source.Config]) -> Table:
    """All finished columns of the sources, one source behind the other."""
    tables = []
    for source in sources:
        found: dict[str, Column] = {}
        for columns in stored(out, source):
            table = columns.read()
            if clash := found.keys() & table.columns.keys():
                raise DataError(
                    f"{out}: holds '{min(clash)}' of several settings; remove the folder {columns.folder.name} or "
                    "another of that name, or score again with a label of its own (label=NAME)"
                )
            found |= table.columns
        tables.append(Table(found, len(source.build())))
    whole = tables[0]
    for table in tables[1:]:
        whole = whole + table
    return whole


def stored(out: Path, source: Source.Config) -> list[Columns]:
    """What has been scored of a source as it is now."""
    who = identity(source)
    found = [Columns.at(file.parent) for file in sorted(out.glob(f"*/{ABOUT}"))]
    return [columns for columns in found if columns.about.source == who]
