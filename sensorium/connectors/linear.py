"""One linear map (LLaVA, arXiv 2304.08485, section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.connectors.connector import Connector


class Linear(Connector, name="linear"):
    """Each feature is projected by itself; the number of tokens stays."""

    class Config(Connector.Config):
        bias: bool = True

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.projection = nn.Linear(in_dim, out_dim, bias=config.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.projection(features)
