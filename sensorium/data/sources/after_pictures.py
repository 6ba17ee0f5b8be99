"""Pages on which only what follows a picture is learned, as OpenFlamingo masks Multimodal C4 (arXiv 2308.01390)."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from sensorium.data.source import Source
from sensorium.sample import Image, Sample, Video


class AfterPictures(Source, name="after-pictures"):
    """The samples of another source; what stands before the first picture is read and not supervised, for nothing that
    is seen helps with it. A sample without pictures stays as it is."""

    class Config(Source.Config):
        source: Source.Config = Field(description="samples of text and pictures")

        def fingerprint(self) -> str | None:
            return self.source.fingerprint()

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.source: Source = config.source.build()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        shown = [place for place, segment in enumerate(sample.segments) if isinstance(segment, Image | Video)]
        first = shown[0] if shown else 0
        before = tuple(replace(segment, supervise=False) for segment in sample.segments[:first])
        return replace(sample, segments=(*before, *sample.segments[first:]))
