"""Hidden states to logits over the vocabulary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.backbones.backbone import Apart
from sensorium.heads.head import Head


class TokenHead(Head, name="token"):
    """One linear map, tied to the backbone's own output weight unless told otherwise (arXiv 1608.05859)."""

    class Config(Head.Config):
        tied: bool = True
        apart: Apart | None = Field(
            default=None, description="new tokens with a map of their own; the backbone's `apart` says the same"
        )

    def __init__(self, config: Config, weight: Tensor, bias: Tensor | None, media_dim: int) -> None:
        super().__init__()
        self.config = config
        self.weight = weight if config.tied else nn.Parameter(weight.detach().clone())
        self.bias = bias if config.tied or bias is None else nn.Parameter(bias.detach().clone())
        self.new_tokens = nn.Linear(weight.shape[1], config.apart.new) if config.apart else None

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to logits `[..., vocab]`."""
        if self.new_tokens is None or self.config.apart is None:
            return F.linear(hidden, self.weight, self.bias)
        rows = slice(self.config.apart.known)
        known = F.linear(hidden, self.weight[rows], None if self.bias is None else self.bias[rows])
        return torch.cat([known, self.new_tokens(hidden)], dim=-1)
