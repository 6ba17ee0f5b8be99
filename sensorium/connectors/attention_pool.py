"""A picture in one token: its mean feature attends to all features (CLIP, arXiv 2103.00020, section 2.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, OneToken
from sensorium.errors import ConfigError


class AttentionPool(Connector, name="attention-pool"):
    """Attention with learned positions whose one query is the mean of the grid; what CLIP's ResNets end with."""

    class Config(OneToken):
        head_dim: int = Field(default=64, ge=1, description="width of a head; divides the width of the features")

        @classmethod
        def example(cls) -> AttentionPool.Config:
            return cls(head_dim=8)

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        if in_dim % config.head_dim:
            raise ConfigError(
                f"attention-pool: features of width {in_dim} have no heads of {config.head_dim}; set head_dim"
            )
        self.head_dim = config.head_dim
        self.positional_embedding = nn.Parameter(torch.randn(grid[0] * grid[1] + 1, in_dim) * in_dim**-0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(in_dim, in_dim) for _ in range(3))
        self.c_proj = nn.Linear(in_dim, out_dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=in_dim**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        cells = features[:, features.shape[1] - self.grid[0] * self.grid[1] :]
        tokens = torch.cat([cells.mean(1, keepdim=True), cells], dim=1) + self.positional_embedding
        q, k, v = (
            x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for x in (self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens))
        )
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
