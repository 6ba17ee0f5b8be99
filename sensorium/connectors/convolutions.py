"""What convolutional connectors are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place of a map `[n, channels, rows, columns]`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class SqueezeExcite(nn.Module):
    """Channels weighed by what a small network makes of their means (arXiv 1709.01507)."""

    def __init__(self, channels: int, inner: int, activation: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.activation, self.gate = activation(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.activation(self.down(F.adaptive_avg_pool2d(x, 1)))))


def convolution(
    entering: int, leaving: int, kernel: int, activation: type[nn.Module] | None, *, eps: float,
    stride: int = 1, groups: int = 1,
) -> nn.Sequential:  # fmt: skip
    """A convolution without bias that keeps the map's size but for its stride, `ChannelNorm`, and an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, groups=groups, bias=False),
        ChannelNorm(leaving, eps),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))
