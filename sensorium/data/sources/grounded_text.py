"""What is in pictures and where, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sensorium.data.region_source import RegionSource
from sensorium.data.region_words import Form, grounded
from sensorium.sample import Region


class GroundedText(RegionSource, name="grounded-text"):
    """Objects and where they are, from the regions of another source, each of which is an object (BLIP3-GROUNDING-50M;
    xGen-MM, arXiv 2408.08872, section 5.1 and figures 3 and 4), in one of three coarse forms behind each mention, or
    with mention and box between marks."""

    class Config(RegionSource.Config):
        form: Form = Field(
            default="place",
            description="box: (<bbox>x1,y1,x2,y2</bbox>); extent: (starts at (x1,y1) and extends up to (x2,y2)); "
            "place: (in the center); fine: <object>...</object><bbox>[x1, y1][x2, y2]</bbox>",
        )

    config: Config

    def listing(self, regions: Sequence[Region]) -> str:
        return "The image contains " + ", ".join(self.mention(region.text, region) for region in regions)

    def mention(self, said: str, region: Region) -> str:
        return grounded(said, region, self.config.form)
