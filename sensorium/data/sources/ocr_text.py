"""What is written in pictures, at six levels of exactness."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sensorium.data.region_source import RegionSource
from sensorium.data.region_words import Level, ocr, ocr_mention
from sensorium.sample import Region


class OCRText(RegionSource, name="ocr-text"):
    """Texts in pictures and where they are, from the regions of another source, each of which is a text
    (BLIP3-OCR-200M; xGen-MM, arXiv 2408.08872, section 5.1 and figure 4): 1 the texts alone, on which that model is
    pre-trained; 2 with a place in words; 3 with fractions of the picture; 4 with a box to one digit; 5 with a box to
    three; 6 marked up."""

    class Config(RegionSource.Config):
        level: Level = Field(default=1, description="from 1, the text alone, to 6, text and box between marks")

    config: Config

    def listing(self, regions: Sequence[Region]) -> str:
        return ", ".join(ocr(region, self.config.level) for region in regions)

    def mention(self, said: str, region: Region) -> str:
        return ocr_mention(said, region, self.config.level)
