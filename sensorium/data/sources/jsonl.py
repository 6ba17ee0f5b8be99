"""A folder with a file of JSON lines and the pictures they name, read in place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from sensorium.data.folder import inside
from sensorium.data.records import RecordConfig, chosen, connected, look_up, make_sample, normal, read_record
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample


class JSONLines(Source, name="jsonl"):
    """One record a line. Lines are found by their offsets, so memory does not grow with their length.

    A broken line or a missing picture is a `DataError` when its sample is read, and goes to the quarantine file.
    """

    class Config(RecordConfig):
        file: str = Field(default="data.jsonl", description="the file of lines, in the folder")
        id_field: str = "id"
        image_field: str = Field(default="image", description="field with the picture's path, relative to the folder")
        together: tuple[str, ...] = Field(
            default=("id",), min_length=1, description="records that agree in any of these fields are in the same split"
        )
        same_pictures: bool = Field(
            default=False, description="records whose picture files are equal are in the same split"
        )

        @classmethod
        def example(cls) -> None:
            return None

        def files(self) -> list[Path]:
            return [inside(self.place(), self.file, self.folder.name)]

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.folder = config.place()
        (self.file,) = config.files()
        self.lines = self._lines()
        if not self.lines:
            raise DataError(f"{self.file}: holds no lines; give a file with one JSON object a line")
        if config.split != "all":
            kept = chosen(connected([self._keys(line) for line in self.lines]), config)
            self.lines = [self.lines[i] for i in kept]

    def _lines(self) -> list[tuple[int, int]]:
        """(line number from 1, offset in bytes) of every line that is not blank."""
        lines, offset = [], 0
        with self.file.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    lines.append((number, offset))
                offset += len(line)
        return lines

    def _keys(self, line: tuple[int, int]) -> list[str]:
        """What ties a record to others; a record that cannot be read is tied to none."""
        try:
            record, name = self._record(line)
            keys = [f"{field}:{normal(str(look_up(record, field)))}" for field in self.config.together]
            if self.config.same_pictures:
                picture = self._picture(record, name).read_bytes()
                keys.append("picture:" + hashlib.sha256(picture).hexdigest())
            return keys
        except DataError:
            return [f"line:{line[0]}"]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Sample:
        record, name = self._record(self.lines[index])
        id = str(look_up(record, self.config.id_field) or f"line-{self.lines[index][0]}")
        return make_sample(self.config, record, self._picture(record, name), id, name)

    def _record(self, line: tuple[int, int]) -> tuple[dict[str, Any], str]:
        """The record of a line, and the line's name for error messages."""
        name = f"{self.file}, line {line[0]}"
        with self.file.open("rb") as opened:
            opened.seek(line[1])
            return read_record(opened.readline(), name), name

    def _picture(self, record: dict[str, Any], name: str) -> Path:
        field = self.config.image_field
        path = look_up(record, field)
        if not isinstance(path, str) or not path:
            raise DataError(f"{name}: field '{field}' is {path!r}; it must be the path of a picture in {self.folder}")
        return inside(self.folder, path, name)
