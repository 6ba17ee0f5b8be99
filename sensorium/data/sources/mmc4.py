"""Web pages as Multimodal C4 has them (arXiv 2304.06939): sentences, and pictures matched to sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from sensorium.data.record_table import Record
from sensorium.data.references import medium, segment
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class MMC4(TableSource, name="mmc4"):
    """Records {text_list, image_info: [{image_name, matched_text_index, matched_sim}]}. Sentences are joined by spaces;
    a picture stands at the sentence it matches, and is left out where it matches too little. The page is running text,
    all of it supervised."""

    class Config(TableConfig):
        least: float = Field(
            default=0.24, description="pictures of a lower matched_sim are left out; 0.24 as OpenFlamingo (2308.01390)"
        )
        pictures: Literal["before", "after"] = Field(
            default="before", description="where a picture stands, seen from its sentence"
        )
        image_field: str = Field(default="image_name", description="field of image_info with the picture's path")

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        sentences = record.fields.get("text_list")
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise DataError(f"{record.name}: text_list is {sentences!r:.60}; expected a list of texts")
        places: dict[int, list[Segment]] = {}
        for place, picture in self._matched(record, len(sentences)):
            places.setdefault(place + (self.config.pictures == "after"), []).append(picture)
        return Sample(tuple(_woven(sentences, places)), id=id, source=self.config.title)

    def _matched(self, record: Record, sentences: int) -> Iterator[tuple[int, Segment]]:
        """(number of the sentence, picture) of each picture that matches enough."""
        field = self.config.image_field
        for number, about in enumerate(record.fields.get("image_info") or ()):
            name = f"{record.name}, image_info {number}"
            if not isinstance(about, Mapping):
                raise DataError(f"{name}: found {about!r:.60}; expected {field}, matched_text_index, matched_sim")
            match, place = about.get("matched_sim"), about.get("matched_text_index")
            if not isinstance(match, int | float) or not isinstance(place, int) or not 0 <= place < sentences:
                found = f"matched_sim {match!r:.20} and matched_text_index {place!r:.20}"
                raise DataError(f"{name}: found {found}; expected a number, and one from 0 to {sentences - 1}")
            if match >= self.config.least:
                source = medium(about.get(field), self.media, field, name)
                yield place, segment("image", source, "document")


def _woven(sentences: list[str], places: Mapping[int, list[Any]]) -> Iterator[Segment]:
    """Runs of sentences between pictures; `places` says what stands before each sentence and after the last."""
    since = 0
    for place in sorted(places):
        if since < place:
            yield Text(" ".join(sentences[since:place]), role="document", supervise=True)
        yield from places[place]
        since = place
    if sentences[since:]:
        yield Text(" ".join(sentences[since:]), role="document", supervise=True)
