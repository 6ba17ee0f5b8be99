"""One tile: the whole picture at the encoder's size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image as PILImage

from sensorium.data.tiling import Box, TilePlan, Tiling, pad_to, padded_view, to_array


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

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        if self.config.fit == "pad":
            return [padded_view(size, self.input_size)]
        if self.config.fit == "stretch":
            return super().views(size, plan)
        scale = min(size[0] / self.input_size[0], size[1] / self.input_size[1])
        wide, high = (self.input_size[side] * scale / size[side] for side in (0, 1))
        return [((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)]

    def _fit(self, picture: PILImage.Image) -> PILImage.Image:
        if self.config.fit == "pad":
            return pad_to(picture, self.input_size, self.config.fill)
        ((left, top, right, bottom),) = self.views(picture.size, TilePlan())
        box = left * picture.width, top * picture.height, right * picture.width, bottom * picture.height
        return picture.resize(self.input_size, PILImage.Resampling.BICUBIC, box=box)
