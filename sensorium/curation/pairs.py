"""What scorers read of a sample: its picture, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PILImage

from sensorium.data.images import open_picture
from sensorium.data.records import fill, record_of
from sensorium.data.tiling import resized, to_tiles
from sensorium.errors import DataError
from sensorium.sample import Image, Sample, Text

if TYPE_CHECKING:
    from sensorium.encoders.encoder import Encoder


@dataclass(frozen=True)
class Decoded:
    """A picture that has been opened already, so that one which cannot be is found out before it is scored."""

    picture: PILImage.Image

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size

    def open(self) -> PILImage.Image:
        return self.picture


def picture_of(sample: Sample) -> PILImage.Image:
    """The one picture of a sample, RGB; a `DataError` if it has none or several."""
    if len(sample.images) != 1:
        raise DataError(f"{sample.name}: has {len(sample.images)} pictures; this scorer reads samples with one")
    return open_picture(sample.images[0].source, sample.images[0].id or sample.name)


def tile_of(sample: Sample, encoder: Encoder) -> np.ndarray:
    """The one picture of a sample, stretched to what an encoder reads, uint8 `[3, height, width]`."""
    shape: Any = encoder.config
    return to_tiles(resized(picture_of(sample), shape.input_size))[0]


def caption_of(sample: Sample) -> str:
    """What the sample teaches to say: its supervised texts; a `DataError` if there are none."""
    said = " ".join(segment.text for segment in sample.segments if isinstance(segment, Text) and segment.supervise)
    if not said.strip():
        raise DataError(f"{sample.name}: no text is supervised, so there is none to score; set supervise on a segment")
    return said


def wording(sample: Sample, template: str) -> str:
    """What a template makes of the sample's record; of an empty one, what the sample itself teaches to say."""
    return fill(template, record_of(sample), sample.name) if template else caption_of(sample)


def asked(sample: Sample, question: str, pictures: bool = True) -> Sample:
    """A question about the sample's pictures, opened, and nothing else of it; a `DataError` if it has none. Without
    `pictures`, the question alone."""
    if not pictures:
        return Sample((Text(question),), id=sample.id, source=sample.source)
    if not sample.images:
        raise DataError(f"{sample.name}: has no picture to ask about; use samples that have")
    shown = (replace(picture, role="user", supervise=False) for picture in decoded(sample).images)
    return Sample((*shown, Text(question)), id=sample.id, source=sample.source)


def text_of(sample: Sample) -> str:
    """All text of a sample."""
    return "\n".join(segment.text for segment in sample.segments if isinstance(segment, Text))


def decoded(sample: Sample) -> Sample:
    """The sample with its pictures opened; a `DataError` if one cannot be."""
    name = sample.name
    return replace(
        sample,
        segments=tuple(
            replace(s, source=Decoded(open_picture(s.source, s.id or name))) if isinstance(s, Image) else s
            for s in sample.segments
        ),
    )
