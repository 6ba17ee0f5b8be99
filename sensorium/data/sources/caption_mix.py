"""Several texts for a sample, alt-text and synthetic ones for example, drawn in a ratio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from sensorium.data.derived import Derived
from sensorium.data.records import fill, record_of
from sensorium.data.worlds.dice import Dice
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class CaptionMix(Derived, name="caption-mix"):
    """The samples of another source, `copies` times, what is supervised replaced each time by one of the texts of their
    records, drawn in the ratio of their weights (Lai et al., arXiv 2410.02740: a mix that keeps the alt-text beats
    synthetic captions alone, and models differ in which they need). `Sample.meta["caption"]` is what was drawn."""

    class Config(Derived.Config):
        captions: dict[str, float] = Field(
            min_length=1,
            description="templates as in `jsonl`, such as {'{alt}': 1, '{dense}': 3}, and their weights; '' is what "
            "the sample says itself",
        )
        copies: int = Field(default=1, ge=1, description="how often each picture comes, with a caption drawn anew")
        turns: Literal["one", "last"] = Field(
            default="one",
            description="samples have one supervised text, or the last of several is replaced and taught alone",
        )
        seed: int = 0

        @model_validator(mode="after")
        def _weights(self) -> CaptionMix.Config:
            if min(self.captions.values()) < 0 or not sum(self.captions.values()):
                raise ValueError(f"captions: found the weights {self.captions}; none may be below 0, nor all 0")
            return self

    config: Config

    def __len__(self) -> int:
        return len(self.source) * self.config.copies

    def __getitem__(self, index: int) -> Sample:
        copy, place = divmod(index, len(self.source))
        sample = self.source[place]
        template = self._draw(Dice("captions", self.config.seed, index))
        places = [n for n, s in enumerate(sample.segments) if isinstance(s, Text) and s.supervise]
        if not places or (len(places) > 1 and self.config.turns == "one"):
            raise DataError(f"{sample.name}: has {len(places)} supervised texts; caption-mix needs one, or turns=last")
        segments = tuple(self._segments(sample, places[-1], template))
        said = segments[places[-1]]
        assert isinstance(said, Text)
        id = f"{sample.id}#{copy}" if copy else sample.id
        return replace(sample, segments=segments, id=id, meta={**sample.meta, "caption": said.text})

    def _segments(self, sample: Sample, replaced: int, template: str) -> Iterator[Segment]:
        for number, segment in enumerate(sample.segments):
            if number != replaced:
                yield replace(segment, supervise=False) if segment.supervise else segment
            elif template:
                yield replace(segment, text=fill(template, record_of(sample), sample.name))
            else:
                yield segment

    def _draw(self, dice: Dice) -> str:
        chance = dice.unit() * sum(self.config.captions.values())
        drawn = ""
        for template, weight in self.config.captions.items():
            drawn = template if weight else drawn
            if chance < weight:
                break
            chance -= weight
        return drawn
