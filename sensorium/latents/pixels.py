"""The pixels themselves, of the picture or of a smaller one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.latents.latents import Latents, as_pixels


class Pixels(Latents, name="pixels"):
    """Nothing is learned. The decoder of unCLIP (arXiv 2204.06125) works so at 64 x 64."""

    class Config(Latents.Config):
        side: int = Field(default=32, ge=1, description="rows and columns that tiles are scaled to")
        scale: float = Field(
            default=1.0,
            gt=0,
            description="what white is: more for pictures of little contrast, whose variance is small",
        )

        def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
            return 3, self.side, self.side

    config: Config

    def encode(self, tiles: Tensor) -> Tensor:
        side = self.config.side
        small = F.interpolate(as_pixels(tiles, torch.empty(0)), size=(side, side), mode="bilinear", antialias=True)
        return self.config.scale * small

    def decode(self, latents: Tensor) -> Tensor:
        width, height = self.size
        return F.interpolate(latents / self.config.scale, size=(height, width), mode="bilinear", antialias=True)

    def settle(self, latents: Tensor) -> Tensor:
        return latents.clamp(-self.config.scale, self.config.scale)
