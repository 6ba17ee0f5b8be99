"""A transformer block that a condition steers (DiT, arXiv 2212.09748, section 3.2, adaLN-Zero)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.encoders.block import Block


class SteeredBlock(Block):
    """The condition shifts and scales what enters attention and feed-forward, and says how much of what leaves them is
    added: nothing at first, so that the block begins as the identity."""

    def __init__(self, width: int, num_heads: int, inner: int) -> None:
        super().__init__(width, num_heads, inner, 1e-6, "gelu-tanh")
        self.steering = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.steering.weight)
        nn.init.zeros_(self.steering.bias)

    def steered(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """`[n, tokens, width]` under conditions `[n, width]`."""
        steering = self.steering(F.silu(condition))[:, None].chunk(6, dim=-1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = steering
        hidden = hidden + gate * self.attended(self.attention_norm(hidden) * (1 + scale) + shift)
        return hidden + mlp_gate * self.fed(self.mlp_norm(hidden) * (1 + mlp_scale) + mlp_shift)
