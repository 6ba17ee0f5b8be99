"""Several captions for a picture, alt-text and synthetic ones for example, drawn in a ratio."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, model_validator

from sensorium.data.records import fill
from sensorium.data.source import Source
from sensorium.data.worlds.dice import Dice
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class CaptionMix(Source, name="caption-mix"):
    """The samples of another source, `copies` times, what is supervised replaced each time by one of the captions of
    its record, drawn in the ratio of their weights (Lai et al., arXiv 2410.02740: a mix that keeps the alt-text beats
    synthetic captions alone, and models differ in which they need)."""

    class Config(Source.Config):
        source: Source.Config = Field(description="samples with a record and one supervised text")
        captions: dict[str, float] = Field(
            min_length=1, description="templates as in `jsonl`, such as {'{alt}': 1, '{dense}': 3}, and their weights"
        )
        copies: int = Field(default=1, ge=1, description="how often each picture comes, with a caption drawn anew")
        seed: int = 0

        @model_validator(mode="after")
        def _weights(self) -> CaptionMix.Config:
            if min(self.captions.values()) < 0 or not sum(self.captions.values()):
                raise ValueError(f"captions: found the weights {self.captions}; none may be below 0, nor all 0")
            return self

        def fingerprint(self) -> str | None:
            return self.source.fingerprint()

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.source: Source = config.source.build()

    def __len__(self) -> int:
        return len(self.source) * self.config.copies

    def __getitem__(self, index: int) -> Sample:
        copy, place = divmod(index, len(self.source))
        sample = self.source[place]
        record = sample.meta.get("record")
        supervised = [segment for segment in sample.segments if isinstance(segment, Text) and segment.supervise]
        if not isinstance(record, dict) or len(supervised) != 1:
            found = f"{len(supervised)} supervised texts and {'a' if isinstance(record, dict) else 'no'} record"
            raise DataError(
                f"{sample.name}: has {found}; caption-mix needs one text and a record, as jsonl and tar give"
            )
        template = self._draw(Dice("captions", self.config.seed, index))
        caption = Text(fill(template, record, sample.name), role=supervised[0].role, supervise=True)
        segments: tuple[Segment, ...] = tuple(caption if s is supervised[0] else s for s in sample.segments)
        id = f"{sample.id}#{copy}" if copy else sample.id
        return replace(sample, segments=segments, id=id, meta={**sample.meta, "caption": caption.text})

    def _draw(self, dice: Dice) -> str:
        chance = dice.unit() * sum(self.config.captions.values())
        drawn = ""
        for template, weight in self.config.captions.items():
            drawn = template if weight else drawn
            if chance < weight:
                break
            chance -= weight
        return drawn
