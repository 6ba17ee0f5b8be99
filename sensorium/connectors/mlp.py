"""A small feed-forward network over each feature (LLaVA-1.5, arXiv 2310.03744, section 3.3)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector


class MLP(Connector, name="mlp"):
    """`depth` linear layers with GELU between them; the number of tokens stays."""

    class Config(Connector.Config):
        depth: int = Field(default=2, ge=1, description="linear layers")

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.layers = feed_forward(in_dim, out_dim, config.depth)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def feed_forward(in_dim: int, out_dim: int, depth: int, activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """`depth` linear layers with an activation between them."""
    layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Linear(out_dim, out_dim)]
    return nn.Sequential(*layers)
