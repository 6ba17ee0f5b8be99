"""Lightweight downsampling projectors by convolutions (MobileVLM, arXiv 2312.16886; V2, arXiv 2402.03766)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.average_pool import pooled_tokens
from sensorium.connectors.connector import Connector
from sensorium.connectors.convolutions import SqueezeExcite, convolution
from sensorium.connectors.mlp import feed_forward


class LDP(Connector, name="ldp"):
    """A feed-forward network over each feature, then two blocks of convolutions, of which the second halves both sides
    of the map (MobileVLM, section 3.3)."""

    class Config(Connector.Config):
        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            rows, columns = self.out_grid(tokens, grid)
            return rows * columns

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
            return (grid[0] + 1) // 2, (grid[1] + 1) // 2

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = feed_forward(in_dim, out_dim, 2)
        self.blocks = nn.Sequential(Separable(out_dim, 1), Separable(out_dim, 2))

    def forward(self, features: Tensor) -> Tensor:
        return self.blocks(self.cells(self.layers(features))).flatten(2).transpose(1, 2)

    def shard_units(self) -> list[nn.Module]:
        return [self.layers, *self.blocks]


class Separable(nn.Module):
    """3 x 3 for each channel by itself, squeeze-and-excitation, 1 x 1: a block of MobileNetV3 (arXiv 1905.02244) that
    does not expand, with layer norms; residual where it keeps the size of the map."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.filter = convolution(channels, channels, 3, nn.Hardswish, eps=1e-5, stride=stride, groups=channels)
        self.excite = SqueezeExcite(channels, eighths(channels // 4), nn.ReLU, nn.Hardsigmoid)
        self.project = convolution(channels, channels, 1, None, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.project(self.excite(self.filter(x)))
        return x + hidden if self.residual else hidden


def eighths(channels: int) -> int:
    """The multiple of 8 nearest to `channels`, but not below nine tenths of it (MobileNet)."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class LDPv2(Connector, name="ldp-v2"):
    """A feed-forward network over each feature, adaptive average pooling to `side` x `side`, and what a 3 x 3
    convolution of each channel sees of its neighbours added (MobileVLM V2, section 3.3)."""

    class Config(Connector.Config):
        side: int = Field(default=12, ge=1, description="the map becomes side x side tokens")

        @classmethod
        def example(cls) -> LDPv2.Config:
            return cls(side=3)

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return pooled_tokens("ldp-v2", self.side, grid)

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
            return self.side, self.side

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = feed_forward(in_dim, out_dim, 2)
        self.positions = nn.Conv2d(out_dim, out_dim, 3, padding=1, groups=out_dim)

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.cells(self.layers(features)), self.config.side)
        return (self.positions(pooled) + pooled).flatten(2).transpose(1, 2)
