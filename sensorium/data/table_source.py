"""Base of the sources whose samples are records of tables: how they are found, split and called."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from pydantic import Field

from sensorium.data.files import Stored
from sensorium.data.folder import Folder
from sensorium.data.index import Arrays, indexed
from sensorium.data.parquet import Rows
from sensorium.data.record_table import Joined, Record, Table
from sensorium.data.records import SplitConfig, chosen, connected, keys, look_up, share, without_bytes
from sensorium.data.source import Source
from sensorium.data.spans import open_text
from sensorium.errors import DataError
from sensorium.sample import Sample

WHERE: set[str] = {"folder", "root", "hint", "split", "held_out"}
"""Keys of a config that change nothing about which records there are and which belong together."""


class TableConfig(SplitConfig):
    """Which files hold the records, and what ties records together."""

    file: str = Field(
        default="*.jsonl",
        min_length=1,
        description="a file of the folder, or a pattern of several: .jsonl, .json (a list, or lines), .csv, .tsv or "
        ".parquet",
    )
    media: str = Field(default="", description="folder in the folder from which the records' paths start")
    id_field: str = Field(default="id", description="field that names the record; without it, its line does")
    together: tuple[str, ...] = Field(
        default=("id",), description="records that agree in any of these fields are in the same split"
    )

    def files(self) -> list[Stored]:
        folder = self.place()
        if not set("*?[") & set(self.file):
            return [folder.find(self.file, self.title)]
        if found := folder.matching(self.file):
            return found
        raise DataError(f"{folder}: no file matches '{self.file}'; check folder and file")


class TableSource(Source):
    """A sample a record, in the order of the files' names and of the records in them. A record that cannot be read is a
    `DataError` when its sample is, and is in one of the splits all the same."""

    config: TableConfig

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        self.folder = config.place()
        self.media: Folder = self.folder.inner(config.media)
        self.table = self.open_table()
        self.kept = self._kept()

    @abstractmethod
    def sample(self, record: Record, id: str) -> Sample:
        """The sample that a record says."""

    def open_table(self) -> Table:
        """The records of the config's files. A `DataError` for one that holds none, or in which they cannot be told
        apart."""
        tables = [_open(file, self.folder) for file in self.config.files()]
        return tables[0] if len(tables) == 1 else Joined(tables)

    def wanted(self, record: Record) -> bool:
        """Whether the config's filters leave the record in; only asked if there are `filters`."""
        return True

    @property
    def filters(self) -> tuple[str, ...]:
        """The fields that `wanted` reads, if there are any."""
        return ()

    def keys(self, record: Record) -> list[str]:
        """What ties a record to others."""
        return [key for field in self.config.together for key in keys(field, look_up(record.fields, field))]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Sample:
        record = self.table.read(int(self.kept[index]))
        given = look_up(record.fields, self.config.id_field)
        sample = self.sample(record, record.place if given in (None, "") else str(given))
        sample.meta.setdefault("record", without_bytes(record.fields))
        return sample

    def _kept(self) -> Sequence[int] | np.ndarray:
        if self.config.split == "all" and not self.filters:
            return range(len(self.table))
        about = self.survey()
        inside = np.asarray(chosen(len(self.table), [about["shares"]], self.config))
        return inside[about["wanted"][inside]]

    def survey(self) -> Arrays:
        """float64 `shares` `[records]`, on which the split rests, and bool `wanted` `[records]`. All records are read
        once, in the fields that matter; what they say is kept in the cache until a file changes on which it rests."""
        how = self.config.model_dump(mode="json", exclude=WHERE)
        return indexed(self.rests_on(), f"survey {self.config.type_name} {json.dumps(how)}", self._survey)

    def rests_on(self) -> list[Stored]:
        """The files whose contents `keys` and `wanted` depend on."""
        return self.config.files()

    def _survey(self) -> Arrays:
        columns = tuple(field.partition(".")[0] for field in (*self.config.together, *self.filters))
        groups: list[list[str]] = []
        wanted = np.ones(len(self.table), np.bool_)
        for index in range(len(self.table)):
            own: list[str] = []
            with suppress(DataError):  # met again when the sample is read
                record = self.table.read(index, columns)
                own = self.keys(record)
                wanted[index] = not self.filters or self.wanted(record)
            groups.append(own or [f"place:{self.table.place(index)}"])
        return {"shares": np.fromiter(map(share, connected(groups)), np.float64, len(groups)), "wanted": wanted}


def _open(file: Stored, folder: Folder) -> Table:
    stem = str(file.file).removeprefix(f"{folder}/").rpartition(".")[0]
    table = Rows(file, stem) if file.title.endswith(".parquet") else open_text(file, stem)
    if not len(table):
        raise DataError(f"{file}: holds no lines; give a file with one JSON object a line, a list, or rows")
    return table
