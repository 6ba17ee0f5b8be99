"""Pages on which only what follows a picture is learned, as OpenFlamingo masks Multimodal C4 (arXiv 2308.01390)."""

from __future__ import annotations

from dataclasses import replace

from sensorium.data.derived import Derived
from sensorium.sample import Image, Sample, Video


class AfterPictures(Derived, name="after-pictures"):
    """The samples of another source; what stands before the first picture is read and not supervised, for nothing that
    is seen helps with it. A sample without pictures stays as it is."""

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        shown = [place for place, segment in enumerate(sample.segments) if isinstance(segment, Image | Video)]
        first = shown[0] if shown else 0
        before = tuple(replace(segment, supervise=False) for segment in sample.segments[:first])
        return replace(sample, segments=(*before, *sample.segments[first:]))
