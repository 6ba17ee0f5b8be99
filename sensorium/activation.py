"""Activations that published systems differ in."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu-tanh", "quick-gelu", "relu", "squared-relu"]
"""GELU; its approximation by tanh, as SigLIP has it; x sigmoid(1.702 x), as OpenAI's CLIP; Idefics'
resampler's; Flamingo's."""


class SquaredReLU(nn.Module):
    """max(x, 0)^2 (Primer, arXiv 2109.08668; Flamingo, arXiv 2204.14198, appendix A.1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x) (Gaussian error linear units, arXiv 1606.08415, section 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation(name: Activation) -> nn.Module:
    named = {"quick-gelu": QuickGELU, "relu": nn.ReLU, "squared-relu": SquaredReLU}
    return named[name]() if name in named else nn.GELU("tanh" if name == "gelu-tanh" else "none")
