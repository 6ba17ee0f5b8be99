"""Web pages as OBELICS has them (arXiv 2306.16527): text and pictures in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from sensorium.data.record_table import Record
from sensorium.data.records import look_up
from sensorium.data.references import medium, segment
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class Interleaved(TableSource, name="interleaved"):
    """Records {texts, images}: two lists of one length, of which each place has a text or a picture and the other is
    null. The page is running text, all of it supervised."""

    class Config(TableConfig):
        texts_field: str = Field(default="texts", description="field with the list of texts and nulls")
        images_field: str = Field(default="images", description="field with the list of pictures and nulls")

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        return Sample(tuple(self._segments(record)), id=id, source=self.config.title)

    def _segments(self, record: Record) -> Iterator[Segment]:
        field, name = self.config.images_field, record.name
        texts, images = self._list(record, self.config.texts_field), self._list(record, field)
        if len(texts) != len(images):
            raise DataError(f"{name}: {len(texts)} texts and {len(images)} images; fill each list up with null")
        for place, (text, image) in enumerate(zip(texts, images, strict=True)):
            if image is not None and text is None:
                yield segment("image", medium(image, self.media, f"{field}.{place}", name), "document")
            elif image is not None or not isinstance(text, str | None):
                raise DataError(f"{name}: place {place} has {text!r:.40} and {image!r:.40}; one must be null")
            elif text:
                yield Text(text, role="document", supervise=True)

    def _list(self, record: Record, field: str) -> list[Any]:
        found = look_up(record.fields, field)
        if not isinstance(found, list):
            raise DataError(f"{record.name}: field '{field}' is {found!r:.60}; expected a list")
        return found
