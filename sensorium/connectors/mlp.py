"""A small feed-forward network over each feature (LLaVA-1.5, arXiv 2310.03744, section 3.3)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, Located


class MLP(Connector, name="mlp"):
    """`depth` linear layers with GELU between them; the number of tokens stays."""

    class Config(Connector.Config):
        depth: int = Field(default=2, ge=1, description="linear layers")

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
        for _ in range(config.depth - 1):
            layers += [nn.GELU(), nn.Linear(out_dim, out_dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)

    def located(self, features: Tensor) -> Located:
        return Located(self(features[:, -self.grid[0] * self.grid[1] :]).unflatten(1, self.grid))
