"""Few tokens that each know their place and the whole: a cell's strongest responses beside the picture's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector


class MaxPool(Connector, name="max-pool"):
    """The feature map is max-pooled to `cells` x `cells`, every cell gets the maximum over the whole map beside its
    own (as each point does in PointNet, arXiv 1612.00593, section 4.2), and both are projected; a learned position as
    large as the features themselves says where the cell is.

    A language model from nothing attends to all places alike at first. A mean over cells hides a small object among
    background; a mean over cells that all carry the whole does not, so the encoder learns shapes from the first steps.
    """

    class Config(Connector.Config):
        cells: int = Field(default=4, ge=1, description="rows and columns that leave")

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return self.cells**2

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.projection = nn.Linear(2 * in_dim, out_dim)
        self.positions = nn.Parameter(torch.randn(config.cells**2, out_dim) * 0.5)

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = self.grid
        image = features[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        cells = F.adaptive_max_pool2d(image, self.config.cells).flatten(2).transpose(1, 2)
        whole = cells.amax(dim=1, keepdim=True).expand_as(cells)
        return self.projection(F.gelu(torch.cat([cells, whole], dim=-1))) + self.positions
