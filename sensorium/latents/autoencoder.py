"""A small convolutional autoencoder, learned from the pictures at hand."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.latents.latents import Latents, as_pixels


class Autoencoder(Latents, name="autoencoder"):
    """Convolutions halve the picture some times; what they leave is brought to mean square 1 at each place, so that
    latents need no scale of their own. The way back is learned with noise added, for it will be given latents that were
    drawn and are never quite right (as the regularised latents of arXiv 2112.10752, section 3.1)."""

    learned = True

    class Config(Latents.Config):
        halvings: int = Field(default=3, ge=1, le=6, description="a latent stands for 2^halvings pixels each way")
        channels: int = Field(default=8, ge=2, description="of the latents")
        width: int = Field(default=128, ge=8, description="channels at the latents' resolution; half at each above")
        noise: float = Field(default=0.1, ge=0, description="standard deviation that training adds to latents")

        def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
            step = 2**self.halvings
            if size[0] % step or size[1] % step:
                raise ValueError(f"latents: {size[0]}x{size[1]} pixels cannot be halved {self.halvings} times; fewer")
            return self.channels, size[1] // step, size[0] // step

    config: Config

    def __init__(self, config: Config, size: tuple[int, int]) -> None:
        super().__init__(config, size)
        config.shape(size)  # refuses what cannot be halved
        widths = [max(8, config.width >> step) for step in reversed(range(config.halvings))]
        down: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            down += [nn.Conv2d(before, after, 3, 2, 1), nn.GELU()]
        self.down = nn.Sequential(*down, nn.Conv2d(widths[-1], config.channels, 1))
        up: list[nn.Module] = [nn.Conv2d(config.channels, widths[-1], 3, 1, 1), nn.GELU()]
        for before, after in zip(widths[::-1], [*widths[-2::-1], 3], strict=True):
            up += [nn.Conv2d(before, 4 * after, 3, 1, 1), Finer(), nn.GELU()]
        self.up = nn.Sequential(*up[:-1])

    def encode(self, tiles: Tensor) -> Tensor:
        first: Tensor = self.down[0].weight  # type: ignore[assignment]
        latents = self.down(as_pixels(tiles, first))
        return latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-6)

    def decode(self, latents: Tensor) -> Tensor:
        return self.up(latents)

    def settle(self, latents: Tensor) -> Tensor:
        return latents * torch.rsqrt(latents.square().mean(1, keepdim=True).clamp(min=1))


class Finer(nn.Module):
    """Four channels to four pixels, as torch's PixelShuffle, whose gradient of an empty batch has the wrong shape."""

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 4 * channels, rows, columns]` to `[n, channels, 2 * rows, 2 * columns]`."""
        return x.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
