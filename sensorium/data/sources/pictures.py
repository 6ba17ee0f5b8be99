"""A plain folder of pictures, with captions in text files beside them, in the files' names, or in a table."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from sensorium.data.files import Stored
from sensorium.data.folder import Folder
from sensorium.data.index import Texts
from sensorium.data.record_table import Record, Table
from sensorium.data.references import ENDINGS, read_text
from sensorium.data.sources.jsonl import JSONLines
from sensorium.data.table_source import TableConfig
from sensorium.errors import DataError


class Pictures(JSONLines, name="pictures"):
    """Every picture of a folder and the folders in it, by path, or those that a table names. Fields for the templates:
    `caption`, `name` (the file's name in words), `folder` (its folder's name) and `image` (its path)."""

    class Config(JSONLines.Config):
        file: str = Field(
            default="", description="a table in the folder, with a row a picture; by default there is none"
        )
        captions: Literal["beside", "name"] = Field(
            default="beside", description="without a table: captions are in NAME.txt, or the file's name in words"
        )
        style: Literal["caption", "chat"] = Field(
            default="caption", description="running text after the picture, or a conversation"
        )
        together: tuple[str, ...] = Field(
            default=("image",), min_length=1, description=TableConfig.model_fields["together"].description
        )

        def files(self) -> list[Stored]:
            return super().files() if self.file else []

    config: Config

    def open_table(self) -> Table:
        return super().open_table() if self.config.file else Listing(self.media, self.config.captions == "beside")


class Listing(Table):
    """The pictures of a folder as records."""

    def __init__(self, folder: Folder, beside: bool) -> None:
        self.folder, self.beside = folder, beside
        found = [path for path in folder.listing() if path.lower().endswith(ENDINGS["image"])]
        if not found:
            raise DataError(f"{folder}: holds no pictures ({', '.join(ENDINGS['image'])}); check folder and media")
        self.paths = Texts.of(Texts.pack(found, "paths"), "paths")

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, index: int) -> str:
        return str(PurePosixPath(self.paths[index]).with_suffix(""))

    def read(self, index: int, columns: tuple[str, ...] | None = None) -> Record:
        path = PurePosixPath(self.paths[index])
        name, words = f"{self.folder}/{path}", " ".join(re.split(r"[\W_]+", path.stem)).strip()
        fields = {"image": str(path), "name": words, "folder": path.parent.name, "caption": words}
        if self.beside and (columns is None or "caption" in columns):
            fields["caption"] = read_text(self.folder.find(str(path.with_suffix(".txt")), name))
        return Record(fields, name, self.place(index))
