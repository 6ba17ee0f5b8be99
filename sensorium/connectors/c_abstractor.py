"""The C-Abstractor: convolutions that keep what is near together (Honeybee, arXiv 2312.06742, section 4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.average_pool import pooled_tokens
from sensorium.connectors.connector import Connector
from sensorium.connectors.convolutions import SqueezeExcite, convolution
from sensorium.connectors.mlp import feed_forward

EPS = 1e-6


class CAbstractor(Connector, name="c-abstractor"):
    """Learned positions, `depth` residual blocks, adaptive average pooling to `side` x `side`, `depth` more blocks, and
    a feed-forward network over each token."""

    class Config(Connector.Config):
        side: int = Field(default=12, ge=1, description="the map becomes side x side tokens")
        width: int = Field(default=1024, ge=1, description="channels between the convolutions")
        depth: int = Field(default=3, ge=1, description="residual blocks before the pooling, and after it")
        mlp_depth: int = Field(default=2, ge=1, description="linear layers at the end, SiLU between them")

        @classmethod
        def example(cls) -> CAbstractor.Config:
            return cls(side=3, width=24, depth=1)

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return pooled_tokens("c-abstractor", self.side, grid)

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int]:
            return self.side, self.side

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        width = config.width
        self.positions = nn.Parameter(torch.randn(in_dim, *grid) * 0.02)
        self.before = nn.Sequential(*(Bottleneck(width if i else in_dim, width) for i in range(config.depth)))
        self.after = nn.Sequential(*(Bottleneck(width, width) for _ in range(config.depth)))
        self.layers = feed_forward(width, out_dim, config.mlp_depth, nn.SiLU)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.before(self.cells(features) + self.positions)
        hidden = self.after(F.adaptive_avg_pool2d(hidden, self.config.side))
        return self.layers(hidden.flatten(2).transpose(1, 2))

    def shard_units(self) -> list[nn.Module]:
        return [*self.before, *self.after]


class Bottleneck(nn.Module):
    """A residual block of RegNet (arXiv 2003.13678) as Honeybee has it: 1 x 1, then 3 x 3 for each channel by itself,
    squeeze-and-excitation, 1 x 1; layer norms instead of batch norms, SiLU instead of ReLU."""

    def __init__(self, entering: int, width: int) -> None:
        super().__init__()
        self.widen = convolution(entering, width, 1, nn.SiLU, eps=EPS)
        self.filter = convolution(width, width, 3, nn.SiLU, eps=EPS, groups=width)
        self.excite = SqueezeExcite(width, max(1, round(entering / 4)), nn.SiLU, nn.Sigmoid)
        self.project = convolution(width, width, 1, None, eps=EPS)
        self.shortcut = nn.Identity() if entering == width else convolution(entering, width, 1, None, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.project(self.excite(self.filter(self.widen(x)))) + self.shortcut(x))
