"""Neighbouring features side by side, then a small feed-forward network (Idefics3, arXiv 2408.12637; nanoVLM)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector
from sensorium.connectors.mlp import feed_forward
from sensorium.errors import ConfigError


class PixelShuffle(Connector, name="pixel-shuffle"):
    """`scale` x `scale` blocks of the feature map become one token, `scale`^2 times as wide: nothing is lost."""

    class Config(Connector.Config):
        scale: int = Field(default=2, ge=1, description="features a side that become one token")
        depth: int = Field(default=1, ge=1, description="linear layers, GELU between them")
        norm: bool = Field(default=False, description="a LayerNorm before them, as InternVL has")

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            rows, columns = grid
            if rows % self.scale or columns % self.scale:
                raise ConfigError(f"pixel-shuffle: a grid of {rows} x {columns} does not divide by scale {self.scale}")
            return rows * columns // self.scale**2

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
            return grid[0] // self.scale, grid[1] // self.scale

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        wide = in_dim * config.scale**2
        norm = [nn.LayerNorm(wide)] if config.norm else []
        self.layers = nn.Sequential(*norm, *feed_forward(wide, out_dim, config.depth))

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = self.grid
        scale = self.config.scale
        blocks = features[:, -rows * columns :].unflatten(1, (rows // scale, scale, columns // scale, scale))
        return self.layers(blocks.transpose(2, 3).flatten(3).flatten(1, 2))
