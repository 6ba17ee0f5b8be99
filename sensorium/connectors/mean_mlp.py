"""A picture in one token: its mean feature through a small network (LiT, arXiv 2111.07991, trains heads so)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, OneToken


class MeanMLP(Connector, name="mean-mlp"):
    """The mean of all features, normalised, then two linear layers with GELU between them."""

    class Config(OneToken):
        hidden: int = Field(default=512, ge=1, description="width between the layers")
        dropout: float = Field(default=0.0, ge=0, lt=1, description="of the mean feature and between the layers")

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = nn.Sequential(
            nn.LayerNorm(in_dim),
            nn.Dropout(config.dropout),
            nn.Linear(in_dim, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, out_dim),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.mean(1, keepdim=True))
