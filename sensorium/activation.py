"""Activations that published systems differ in."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "squared-relu"]


class SquaredReLU(nn.Module):
    """max(x, 0)^2 (Primer, arXiv 2109.08668; Flamingo, arXiv 2204.14198, appendix A.1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


def activation(name: Activation) -> nn.Module:
    return SquaredReLU() if name == "squared-relu" else nn.GELU()
