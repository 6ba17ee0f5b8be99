"""Tokens that say the same become one (ToMe, arXiv 2210.09461, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.connectors.connector import Connector
from sensorium.connectors.mlp import feed_forward


class TokenMerge(Connector, name="token-merge"):
    """Bipartite soft matching, round by round, until `tokens` are left: every other feature offers itself to the most
    similar of the rest, the best offers are taken, and what is merged counts for as many as it holds. A feed-forward
    network over each follows. They leave in reading order, each where the one stood that the others joined. The paper
    matches by attention keys, between the layers of a model; behind it there are the features themselves."""

    class Config(Connector.Config):
        tokens: int = Field(default=64, ge=1, description="tokens that leave, if as many enter")
        depth: int = Field(default=2, ge=1, description="linear layers, GELU between them")

        @classmethod
        def example(cls) -> TokenMerge.Config:
            return cls(tokens=6)

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return min(self.tokens, tokens)

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
            return None

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = feed_forward(in_dim, out_dim, config.depth)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(merge(features, self.config.tokens)[0])


def merge(features: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """`[n, entering, dim]` to `[n, tokens, dim]`; and how many features each is the mean of, `[n, tokens, 1]`."""
    sizes = torch.ones_like(features[..., :1])
    while (count := features.shape[1]) > tokens:
        merged = min(count - tokens, count // 2)
        into = _matched(features.detach(), merged)[..., None]
        held = sizes.new_zeros(len(features), count - merged, 1).scatter_add(1, into, sizes)
        sums = features.new_zeros(len(features), count - merged, features.shape[2])
        features = sums.scatter_add(1, into.expand_as(features), features * sizes) / held
        sizes = held
    return features, sizes


def _matched(features: Tensor, merged: int) -> Tensor:
    """int64 `[n, entering]`: the number of the token that each becomes part of, after the `merged` best matches."""
    with torch.autocast(features.device.type, enabled=False):
        alike = F.normalize(features.float(), dim=-1)
        best, partner = (alike[:, ::2] @ alike[:, 1::2].transpose(1, 2)).max(dim=-1)
    offering = best.argsort(dim=1, descending=True, stable=True)[:, :merged]
    count = features.shape[1]
    target = torch.arange(count, device=features.device).repeat(len(features), 1)
    target.scatter_(1, 2 * offering, 2 * partner.gather(1, offering) + 1)
    stays = (target == torch.arange(count, device=features.device)).long()
    return (stays.cumsum(1) - 1).gather(1, target)
