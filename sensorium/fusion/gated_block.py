"""The blocks between layers through which text looks at features, and what they read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.activation import activation
from sensorium.fusion.sight import Sight
from sensorium.initialisation import unit_variance

if TYPE_CHECKING:
    from sensorium.fusion.cross_attention import CrossAttention


@dataclass(frozen=True)
class Looking:
    """What the blocks read while the backbone reads a batch, and what they leave for the tokens that follow."""

    sight: Sight
    media: Tensor | None
    """`[n, media_dim]`; None once all keys and values are there"""
    keys_values: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """of each block, `[groups, heads, most, head_dim]`"""

    def step(self) -> Looking:
        """For one more token in each row, and for every one after it."""
        if self.media is None:
            return self
        group = self.sight.newest[self.sight.newest >= 0]
        return Looking(self.sight.step(), None, {b: (k[group], v[group]) for b, (k, v) in self.keys_values.items()})


class GatedBlock(nn.Module):
    """`y += tanh(a) * attention(y, media)`, `y += tanh(b) * feed_forward(y)`, `a` and `b` zero at first. Pre-norm, no
    biases; features are not normalised. Where nothing is seen, attention gives zero."""

    def __init__(self, config: CrossAttention.Config, dim: int, media_dim: int) -> None:
        super().__init__()
        inner, gates = config.num_heads * config.head_dim, {"scalar": 1, "vector": dim, "none": 0}[config.gates]
        self.num_heads, self.only_pictured = config.num_heads, config.only_pictured
        norm = nn.RMSNorm if config.norms == "rms" else nn.LayerNorm
        self.norm = norm(dim, config.norm_eps)
        self.q_norm, self.k_norm = (
            norm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity() for _ in range(2)
        )
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(media_dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(gates)) if gates else None
        self.feed_forward = nn.Sequential(norm(dim, config.norm_eps), *_feed_forward(config, dim))
        self.feed_forward_gate = nn.Parameter(torch.zeros(gates)) if gates else None
        self.apply(unit_variance)

    def forward(self, hidden: Tensor, looking: Looking) -> Tensor:
        """`hidden` `[rows, tokens, dim]` to the same shape."""
        new = hidden + _gated(self._attend(self.norm(hidden), looking), self.attention_gate)
        new = new + _gated(self.feed_forward(new), self.feed_forward_gate)
        return torch.where(looking.sight.pictured[..., None], new, hidden) if self.only_pictured else new

    def _attend(self, normed: Tensor, looking: Looking) -> Tensor:
        sight = looking.sight
        q = self.q_norm(self._heads(self.to_q(normed).flatten(0, 1)[sight.tokens]))
        k, v = self._keys_values(looking)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=sight.mask).transpose(1, 2).flatten(2)
        nothing = attended.new_zeros(1, attended.shape[-1])
        found = torch.cat([attended.flatten(0, 1), nothing])[sight.repack]
        return self.to_out(found.view(*normed.shape[:2], -1))

    def _keys_values(self, looking: Looking) -> tuple[Tensor, Tensor]:
        if looking.media is not None:
            k, v = self.to_kv(looking.media)[looking.sight.features].chunk(2, dim=-1)
            looking.keys_values[self] = self.k_norm(self._heads(k)), self._heads(v)
        return looking.keys_values[self]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class SwiGLU(nn.Module):
    """A feed-forward whose inner features are gated (arXiv 2002.05202), as Llama's."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.down = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def _feed_forward(config: CrossAttention.Config, dim: int) -> list[nn.Module]:
    if config.gated_width:
        return [SwiGLU(dim, config.gated_width)]
    inner = config.ff_ratio * dim
    return [nn.Linear(dim, inner, bias=False), activation(config.activation), nn.Linear(inner, dim, bias=False)]


def _gated(update: Tensor, gate: Tensor | None) -> Tensor:
    return update if gate is None else gate.tanh() * update
