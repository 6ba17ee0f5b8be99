"""One tile: the whole picture at the encoder's size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image as PILImage

from sensorium.data.tiling import Box, TilePlan, Tiling, pad_to, padded_view, resized, to_tiles


class Whole(Tiling, name="whole"):
    """Stretched, padded to a square (LLaVA-1.5) or cropped at the centre (CLIP)."""

    class Config(Tiling.Config):
        fit: Literal["stretch", "pad", "crop"] = "stretch"
        fill: tuple[int, int, int] = (127, 127, 127)

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        return TilePlan()

    def cut(self, picture: PILImage.Image, plan: TilePlan) -> np.ndarray:
        if self.config.fit == "pad":
            return to_tiles(pad_to(picture, self.input_size, self.config.fill))
        if self.config.fit == "stretch":
            return super().cut(picture, plan)
        width, height = self.input_size
        scale = max(width / picture.width, height / picture.height)
        larger = resized(
            picture, (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
        )
        top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
        return to_tiles(larger[top : top + height, left : left + width])

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        if self.config.fit == "pad":
            return [padded_view(size, self.input_size)]
        if self.config.fit == "stretch":
            return super().views(size, plan)
        scale = min(size[0] / self.input_size[0], size[1] / self.input_size[1])
        wide, high = (self.input_size[side] * scale / size[side] for side in (0, 1))
        return [((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)]
