"""Base of the sources that say in words where things are in the pictures of another source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from sensorium.data.derived import Derived
from sensorium.data.region_words import within
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Image, Region, Sample, Segment, Text


class RegionSource(Derived):
    """The samples of another source whose pictures have regions, put into words."""

    class Config(Derived.Config):
        source: Source.Config = Field(description="samples with one picture, whose regions are known")
        caption: Literal["without", "before", "within"] = Field(
            default="without",
            description="what becomes of what the sample says: left out; said first; or each mention in it gets its "
            "place, and what it does not mention is left out",
        )
        question: str = Field(
            default="", description="asked for regions alone; by default they are running text after the picture"
        )

    config: Any

    @abstractmethod
    def listing(self, regions: Sequence[Region]) -> str:
        """The regions by themselves."""

    @abstractmethod
    def mention(self, said: str, region: Region) -> str:
        """A mention of a region in a caption, with its place."""

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        if len(sample.images) != 1:
            raise DataError(f"{sample.name}: has {len(sample.images)} pictures; {self.config.type_name} reads one")
        (picture,) = sample.images
        if self.config.caption == "without":
            return replace(sample, segments=self._alone(picture, sample.name))
        said = [s for s in sample.segments if isinstance(s, Text) and s.supervise]
        if len(said) != 1:
            raise DataError(f"{sample.name}: has {len(said)} supervised texts; one is needed, or caption=without")
        told = replace(said[0], text=self._beside(said[0].text, picture.regions))
        return replace(sample, segments=tuple(told if s is said[0] else s for s in sample.segments))

    def _alone(self, picture: Image, name: str) -> tuple[Segment, ...]:
        if not picture.regions:
            raise DataError(f"{name}: nothing is known of regions of its picture; use samples of which it is")
        said = self.listing(picture.regions)
        if self.config.question:
            asked = replace(picture, role="user"), Text(self.config.question)
            return (*asked, Text(said, role="assistant", supervise=True))
        return replace(picture, role="document"), Text(said, role="document", supervise=True)

    def _beside(self, said: str, regions: Sequence[Region]) -> str:
        if self.config.caption == "within":
            return within(said, regions, self.mention)
        return f"{said} {self.listing(regions)}" if regions else said
