"""A folder with records of pictures and named fields, one a line, and the pictures they name, read in place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from sensorium.data.files import Stored
from sensorium.data.images import picture_size
from sensorium.data.index import Arrays, Texts, indexed
from sensorium.data.record_table import Record
from sensorium.data.records import TemplateConfig, look_up, make_sample
from sensorium.data.references import Medium, medium, read_bytes
from sensorium.data.regions import read_regions, with_regions
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Sample


class JSONLines(TableSource, name="jsonl"):
    """One record a line, or a row of CSV or parquet: a picture, and fields that the templates put into words."""

    class Config(TableConfig, TemplateConfig):
        file: str = Field(default="data.jsonl", min_length=1, description=TableConfig.model_fields["file"].description)
        image_field: str = Field(default="image", description="field with the picture's path, relative to `media`")
        together: tuple[str, ...] = Field(
            default=("id",), min_length=1, description="records that agree in any of these fields are in the same split"
        )
        regions_field: str = Field(
            default="", description="field with the picture's regions, a list of {box, text}; by default none"
        )
        pixels: bool = Field(default=False, description="boxes are in pixels, not in parts of the picture")
        same_pictures: bool = Field(
            default=False, description="records whose picture files are equal are in the same split"
        )

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        picture = self.picture(record)
        sample = make_sample(self.config, record.fields, picture, id, record.name)
        if not (field := self.config.regions_field):
            return sample
        size = picture_size(picture, record.name) if self.config.pixels else (1, 1)
        return with_regions(
            sample, read_regions(look_up(record.fields, field), size, f"{record.name}: field '{field}'")
        )

    def picture(self, record: Record) -> Medium:
        field = self.config.image_field
        return medium(look_up(record.fields, field), self.media, field, record.name)

    def keys(self, record: Record) -> list[str]:
        if not self.config.same_pictures:
            return super().keys(record)
        picture = hashlib.sha256(read_bytes(self.picture(record)))
        return [*super().keys(record), f"picture:{picture.hexdigest()}"]

    def survey(self) -> Arrays:
        try:
            return super().survey()
        except DataError:  # of a record or its picture: met again when the sample is read, looked for at every opening
            return self._survey()

    def rests_on(self) -> list[Stored]:
        files = super().rests_on()
        if not self.config.same_pictures:
            return files
        named = indexed(files, f"files of {self.config.image_field} in {self.media}", self._files)
        kind = Path if isinstance(self.media.root, Path) else str
        return files + [Stored(kind(file)) for file in Texts.of(named, "files")]

    def _files(self) -> Arrays:
        """The pictures that lie in files of their own. A `DataError` if a record cannot be read or names none."""
        column, files = self.config.image_field.partition(".")[0], set[str]()
        for index in range(len(self.table)):
            picture = self.picture(self.table.read(index, (column,)))
            if isinstance(picture, Path | Stored):
                files.add(str(picture))
        return Texts.pack(sorted(files), "files")
