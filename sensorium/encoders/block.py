"""The transformer block of ViT, CLIP, SigLIP and EVA: attention with biases and a feed-forward with one gate-less
activation, each behind a norm, or before it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.activation import Activation
from sensorium.activation import activation as make_activation

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values `[n, heads, tokens, head_dim]` to what was attended to, in the shape of the queries."""


class Block(nn.Module):
    """Self-attention and feed-forward, both residual and behind a norm, or with `norm_after` before it, so that what is
    added is normalised (EVA-CLIP, arXiv 2303.15389); `inner` is the width of the feed-forward."""

    def __init__(
        self, width: int, num_heads: int, inner: int, norm_eps: float, activation: Activation, norm_after: bool = False
    ) -> None:
        super().__init__()
        self.num_heads, self.activation, self.norm_after = num_heads, make_activation(activation), norm_after
        self.attention_norm = nn.LayerNorm(width, norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, norm_eps)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, hidden: Tensor, attend: Attend = F.scaled_dot_product_attention) -> Tensor:
        """`[n, tokens, width]` to the same; by default every token attends to all."""
        if self.norm_after:
            hidden = hidden + self.attention_norm(self.attended(hidden, attend))
            return hidden + self.mlp_norm(self.fed(hidden))
        hidden = hidden + self.attended(self.attention_norm(hidden), attend)
        return hidden + self.fed(self.mlp_norm(hidden))

    def attended(self, entering: Tensor, attend: Attend = F.scaled_dot_product_attention) -> Tensor:
        """What attention adds, given what was normalised, or, with `norm_after`, the hidden states."""
        n, tokens, width = entering.shape
        q, k, v = (
            self.qkv(entering)
            .view(n, tokens, 3, self.num_heads, width // self.num_heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        return self.out(attend(q, k, v).transpose(1, 2).reshape(n, tokens, width))

    def fed(self, entering: Tensor) -> Tensor:
        """What the feed-forward adds, given the same."""
        return self.down(self.activation(self.up(entering)))


def small_branches(depth: int) -> Callable[[nn.Module], None]:
    """For `nn.Module.apply`: residual branches start small, so that an encoder of `depth` blocks from nothing learns
    through its stem at first."""

    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):
            for last in (module.out, module.down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * depth))

    return initialise
