"""A perceptual hash and a thumbnail: pictures that look alike have hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as PILImage

from sensorium.curation.pairs import picture_of
from sensorium.curation.step import Kind, Scorer
from sensorium.sample import Sample

SIDE = 8


class PictureHash(Scorer, name="picture-hash"):
    """`bits`: a uint64 that says, of 8 x 9 patches of the picture in grey, which are darker than their right neighbour
    (dHash, N. Krawetz, "Kind of like that", 2013). `thumbnail`: the colours of 8 x 8 patches without their mean,
    `[192]`, for a second look at what has like bits.

    On plain areas the bits are those of noise or of how a picture was compressed; the thumbnail is not fooled.
    """

    class Config(Scorer.Config):
        @property
        def columns(self) -> dict[str, Kind]:
            return {"bits": "hash", "thumbnail": "vector"}

    def read(self, sample: Sample) -> tuple[int, np.ndarray]:
        picture = picture_of(sample)
        return dhash(picture), thumbnail(picture)

    def score(self, items: Sequence[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
        return list(items)


def dhash(picture: PILImage.Image) -> int:
    """The hash, row by row from the top left; the first comparison is the highest bit."""
    small = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE), PILImage.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")


def thumbnail(picture: PILImage.Image) -> np.ndarray:
    """float32 `[192]`: the colours of 8 x 8 patches, each channel less its mean, so that brightness cancels out."""
    small = np.asarray(picture.resize((SIDE, SIDE), PILImage.Resampling.BOX), np.float32).reshape(SIDE * SIDE, 3)
    return (small - small.mean(axis=0)).reshape(-1)
