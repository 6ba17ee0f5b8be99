"""Hidden states to logits over the vocabulary."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.heads.head import Head


class TokenHead(Head, name="token"):
    """One linear map, tied to the backbone's own output weight unless told otherwise (arXiv 1608.05859)."""

    class Config(Head.Config):
        tied: bool = True

    def __init__(self, config: Config, weight: Tensor, bias: Tensor | None, media_dim: int) -> None:
        super().__init__()
        self.config = config
        self.weight = weight if config.tied else nn.Parameter(weight.detach().clone())
        self.bias = bias if config.tied or bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to logits `[..., vocab]`."""
        return F.linear(hidden, self.weight, self.bias)
