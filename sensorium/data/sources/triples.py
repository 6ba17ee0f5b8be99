"""Pictures and texts written about them as queries and documents to learn retrieval from."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from sensorium.data.candidates import retrieval
from sensorium.data.derived import Derived
from sensorium.data.records import fill, record_of
from sensorium.errors import DataError
from sensorium.sample import Image, Sample, Segment, Text


class Triples(Derived, name="triples"):
    """Query, positive and hard negative from the records of another source's samples, each with one picture; what the
    scorer `mme5` wrote for example (Chen et al., arXiv 2502.08468). They are `Candidate` segments of
    `sensorium/data/candidates.py`, for objectives that compare; there is none yet."""

    class Config(Derived.Config):
        combination: Literal["I-T", "T-I", "IT-T"] = Field(
            default="I-T",
            description="what is searched with, and what for: I the picture, T a text. For pictures there are no hard "
            "negatives",
        )
        instruction: str = Field(default="Find the text that describes the picture.", description="opens the query")
        query: str = Field(default="{mme5.query}", description="template of the text of the query, if it has one")
        positive: str = Field(default="{mme5.positive}", description="template of the text to be found")
        negative: str = Field(
            default="{mme5.negative}", description="template of a text that must not be found; '' for none"
        )

    config: Config

    def __getitem__(self, index: int) -> Sample:
        sample, config = self.source[index], self.config
        if len(sample.images) != 1:
            raise DataError(f"{sample.name}: has {len(sample.images)} pictures; triples are made of one")
        record, picture = record_of(sample), replace(sample.images[0], role="user")

        def text(template: str) -> Text:
            return Text(fill(template, record, sample.name))

        if config.combination == "T-I":
            query, found, wrong = [text(config.query)], _document(picture), []
        else:
            query = [picture, text(config.query)] if config.combination == "IT-T" else [picture]
            found = _document(text(config.positive))
            wrong = [_document(text(config.negative))] if config.negative else []
        made = retrieval(config.instruction, query, found, wrong, id=sample.id, source=sample.source)
        return replace(made, meta=sample.meta)


def _document(piece: Image | Text) -> tuple[Segment, ...]:
    return (replace(piece, role="document"),)
