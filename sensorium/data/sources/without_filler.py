"""Texts without the phrases that say nothing."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from sensorium.data.derived import Derived
from sensorium.data.region_words import without_filler
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class WithoutFiller(Derived, name="without-filler"):
    """The samples of another source, what is supervised rid of phrases such as "the text", as xGen-MM reads captions of
    writing (arXiv 2408.08872, figure 4, where it is said to improve reading). Quotations stay whole."""

    class Config(Derived.Config):
        phrases: tuple[str, ...] = Field(
            default=("the image contains", "the text"), min_length=1, description="what is left out, in any case"
        )

    config: Config

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        return replace(sample, segments=tuple(self._without(segment, sample.name) for segment in sample.segments))

    def _without(self, segment: Segment, name: str) -> Segment:
        if not isinstance(segment, Text) or not segment.supervise:
            return segment
        if not (kept := without_filler(segment.text, self.config.phrases)):
            raise DataError(f"{name}: says nothing but {segment.text!r}; leave the sample out, or a phrase")
        return replace(segment, text=kept)
