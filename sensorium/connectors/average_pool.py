"""Adaptive average pooling, then a feed-forward network (Open-Qwen2VL, arXiv 2504.00595, section 2.1)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.connectors.connector import Connector
from sensorium.connectors.mlp import feed_forward
from sensorium.errors import ConfigError


class AveragePool(Connector, name="average-pool"):
    """The feature map is averaged down to `side` x `side` tokens, each then projected by itself; windows overlap where
    the map does not divide evenly. Pooling has no weights, so a model may be trained with few tokens and go on with
    more: at the side of the map itself it changes nothing."""

    class Config(Connector.Config):
        side: int = Field(default=12, ge=1, description="the map becomes side x side tokens")
        depth: int = Field(default=2, ge=1, description="linear layers, GELU between them")

        @classmethod
        def example(cls) -> AveragePool.Config:
            return cls(side=3)

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return pooled_tokens("average-pool", self.side, grid)

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
            return self.side, self.side

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = feed_forward(in_dim, out_dim, config.depth)

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.cells(features), self.config.side)
        return self.layers(pooled.flatten(2).transpose(1, 2))


def pooled_tokens(name: str, side: int, grid: tuple[int, int]) -> int:
    """The tokens of a map of `grid` (rows, columns) pooled to `side` x `side`; a `ConfigError` if it has fewer."""
    if side > min(grid):
        raise ConfigError(f"{name}: a grid of {grid[0]} x {grid[1]} cannot be averaged to side {side}; lower it")
    return side**2
