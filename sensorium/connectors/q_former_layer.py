"""The layer of a Q-Former: BERT's, with cross-attention for queries and feed-forwards of their own for each side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Memory = tuple[Tensor, Tensor]
"""Keys and values of a layer, `[n, heads, tokens, head_dim]` each."""


class Attending(nn.Module):
    """Attention with biases, residual, normalised behind (BERT, arXiv 1810.04805)."""

    def __init__(self, width: int, source: int, num_heads: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(source, 2 * width), nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width, norm_eps), nn.Dropout(dropout)

    def forward(
        self, hidden: Tensor, source: Tensor, mask: Tensor | None = None, before: Memory | None = None
    ) -> tuple[Tensor, Memory]:
        """`hidden` `[n, tokens, width]` attends to `before`, and behind it to `source` `[n, keys, source]`. `mask`
        `[n, 1, tokens, all keys]` is true where it may; also gives keys and values."""
        q, k, v = (self._heads(x) for x in (self.q(hidden), *self.kv(source).chunk(2, dim=-1)))
        if before is not None:
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
        dropped = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropped)
        return self.norm(hidden + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))), (k, v)

    def handed(self, source: Tensor) -> Tensor:
        """What each of `source` `[n, keys, source]` by itself would hand on, `[n, keys, width]`, with nobody asking."""
        _, values = self.kv(source).chunk(2, dim=-1)
        return self.norm(self.out(values))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Residual, normalised behind."""

    def __init__(self, width: int, inner: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm, self.dropout = nn.LayerNorm(width, norm_eps), nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden + self.dropout(self.down(F.gelu(self.up(hidden)))))


class QFormerLayer(nn.Module):
    """Queries and text share the self-attention; queries alone look at features, in layers that have `looking`."""

    def __init__(self, attention: Attending, looking: Attending | None, feed_forward: FeedForward) -> None:
        super().__init__()
        self.attention, self.looking, self.feed_forward = attention, looking, feed_forward

    def forward(
        self,
        hidden: Tensor,
        queries: int,
        features: Tensor | None,
        words: nn.Module | None,
        mask: Tensor | None,
        before: Memory | None,
    ) -> tuple[Tensor, Memory]:
        """`hidden` `[n, queries + text, width]`, of which so many are queries; `words` is the text's feed-forward."""
        hidden, memory = self.attention(hidden, hidden, mask, before)
        asking, reading, parts = hidden[:, :queries], hidden[:, queries:], []
        if queries:
            if self.looking is not None:
                asking = self.looking(asking, features)[0]
            parts.append(self.feed_forward(asking))
        if words is not None:
            parts.append(words(reading))
        return torch.cat(parts, dim=1), memory
