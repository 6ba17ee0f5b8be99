"""Features as the encoder gives them; cross-attention projects them itself (InfiMM-HD, arXiv 2403.01487)."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from sensorium.connectors.connector import Connector, Located, without_projection


class Identity(Connector, name="identity"):
    """Changes nothing and has no weights, so the fusion has to take features of the encoder's width."""

    class Config(Connector.Config):
        @classmethod
        def example(cls) -> Self | None:
            return None  # wherever it is built with two different widths

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        without_projection("identity", in_dim, out_dim)

    def forward(self, features: Tensor) -> Tensor:
        return features

    def located(self, features: Tensor) -> Located:
        return Located(features[:, -self.grid[0] * self.grid[1] :].unflatten(1, self.grid))
