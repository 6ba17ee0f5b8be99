"""The contract of latents: pictures as small maps of numbers, in which diffusion is cheap (arXiv 2112.10752)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from sensorium.config import Part, PartConfig


class Latents(nn.Module, Part, family="latents", package="sensorium.latents"):
    """Built with the `size` (width, height) of tiles. A latent has about variance 1."""

    learned = False
    """Whether there is something to learn, which the objective `reconstruction` does."""

    class Config(PartConfig):
        def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
            """(channels, rows, columns) of the latents of a tile of (width, height)."""
            raise TypeError(f"{type(self).__qualname__} must define shape")

    def __init__(self, config: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.size = config, size

    @abstractmethod
    def encode(self, tiles: Tensor) -> Tensor:
        """Tiles uint8 `[n, 3, height, width]` to latents `[n, channels, rows, columns]`."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels `[n, 3, height, width]`, black -1 and white 1."""

    def settle(self, latents: Tensor) -> Tensor:
        """The nearest latents that a picture could have."""
        return latents


def as_pixels(tiles: Tensor, like: Tensor) -> Tensor:
    """uint8 tiles to -1 .. 1, in the precision of `like`."""
    return tiles.to(like.dtype) / 127.5 - 1


def as_tiles(pixels: Tensor) -> Tensor:
    """-1 .. 1 to uint8."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).byte()
