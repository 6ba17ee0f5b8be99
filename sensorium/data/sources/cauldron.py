"""Questions about pictures as the Cauldron (arXiv 2405.02246) and FineVision have them, in parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from sensorium.data.conversation import Turn, opened_by, segments
from sensorium.data.record_table import Record
from sensorium.data.references import media
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Sample


class Cauldron(TableSource, name="cauldron"):
    """Rows {images, texts: [{user, assistant}], and columns of ratings with one number a text}. The pictures come
    first. Texts with a rating below the `least` of its column are left out, and rows of which nothing is left are not
    in the source; a text without a rating stays."""

    class Config(TableConfig):
        file: str = Field(default="*.parquet", min_length=1, description=TableConfig.model_fields["file"].description)
        least: dict[str, float] = Field(
            default={}, description="least rating by column, for example {relevance_ratings: 3}"
        )
        together: tuple[str, ...] = Field(
            default=(),
            description="rows that agree in any of these fields are in the same split; [images] reads all pictures "
            "once and keeps equal ones together; by default rows are split one by one",
        )

    config: Config

    @property
    def filters(self) -> tuple[str, ...]:
        return ("texts", *self.config.least) if self.config.least else ()

    def wanted(self, record: Record) -> bool:
        return bool(self._texts(record))

    def sample(self, record: Record, id: str) -> Sample:
        turns: list[Turn] = []
        for text in self._texts(record):
            said = [text.get("user"), text.get("assistant")] if isinstance(text, Mapping) else [None]
            if not all(isinstance(one, str) and one for one in said):
                raise DataError(f"{record.name}: texts has {text!r:.60}; expected user and assistant, both text")
            turns += [Turn("user", (said[0],)), Turn("assistant", (said[1],))]  # type: ignore[arg-type]
        pictures = media(record.fields.get("images"), self.media, "images", record.name)
        placed = segments(opened_by(turns, len(pictures)), {"image": pictures}, record.name)
        return Sample(placed, id=id, source=self.config.title)

    def _texts(self, record: Record) -> list[Any]:
        """The texts whose ratings suffice."""
        texts = record.fields.get("texts")
        if not isinstance(texts, list) or not texts:
            raise DataError(f"{record.name}: texts is {texts!r:.60}; expected a list of user and assistant")
        left = range(len(texts))
        for column, least in self.config.least.items():
            ratings = record.fields.get(column)
            if not isinstance(ratings, list) or len(ratings) != len(texts) or not all(map(_is_rating, ratings)):
                raise DataError(f"{record.name}: {column} is {ratings!r:.60}; expected {len(texts)} ratings")
            left = [i for i in left if ratings[i] is None or ratings[i] >= least]
        return [texts[i] for i in left]


def _is_rating(value: Any) -> bool:
    return isinstance(value, int | float | None)
