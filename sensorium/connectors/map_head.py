"""A picture in one token: a learned probe attends to its features (Scaling vision transformers, arXiv 2106.04560,
appendix; SigLIP, arXiv 2303.15343)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.activation import Activation, activation
from sensorium.connectors.connector import Connector, OneToken
from sensorium.errors import ConfigError


class MAPHead(Connector, name="map-head"):
    """Attention pooling: multi-head attention with one learned query, then a residual feed-forward. Where the features
    have another width than what leaves, one linear map follows (SigLIP's have not)."""

    class Config(OneToken):
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        activation: Activation = "gelu-tanh"
        norm_eps: float = 1e-6

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        if in_dim % config.num_heads:
            raise ConfigError(f"map-head: features of width {in_dim} do not split into {config.num_heads} heads")
        inner = round(in_dim * config.mlp_ratio)
        self.probe = nn.Parameter(torch.randn(1, 1, in_dim) * in_dim**-0.5)
        self.attention = nn.MultiheadAttention(in_dim, config.num_heads, batch_first=True)
        self.norm = nn.LayerNorm(in_dim, config.norm_eps)
        self.up, self.down = nn.Linear(in_dim, inner), nn.Linear(inner, in_dim)
        self.activation = activation(config.activation)
        self.projection = nn.Linear(in_dim, out_dim) if in_dim != out_dim else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        probe = self.probe.expand(len(features), -1, -1)
        pooled = self.attention(probe, features, features, need_weights=False)[0]
        pooled = pooled + self.down(self.activation(self.up(self.norm(pooled))))
        return self.projection(pooled)
