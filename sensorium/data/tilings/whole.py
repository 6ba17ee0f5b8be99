"""One tile: the whole picture at the encoder's size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image as PILImage

from sensorium.data.tiling import TilePlan, Tiling, pad_to, to_array


class Whole(Tiling, name="whole"):
    """Stretched, padded to a square (LLaVA-1.5) or cropped at the centre (CLIP)."""

    class Config(Tiling.Config):
        fit: Literal["stretch", "pad", "crop"] = "stretch"
        fill: tuple[int, int, int] = (127, 127, 127)

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        return TilePlan()

    def cut(self, picture: PILImage.Image, plan: TilePlan) -> np.ndarray:
        if picture.size != self.input_size:
            picture = self._fit(picture)
        return to_array(picture)[None]

    def _fit(self, picture: PILImage.Image) -> PILImage.Image:
        width, height = self.input_size
        if self.config.fit == "pad":
            return pad_to(picture, self.input_size, self.config.fill)
        box = None
        if self.config.fit == "crop":
            scale = min(picture.width / width, picture.height / height)
            left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
            box = (left, top, left + width * scale, top + height * scale)
        return picture.resize(self.input_size, PILImage.Resampling.BICUBIC, box=box)
