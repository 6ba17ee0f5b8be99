"""Few tokens: the strongest responses in the picture, then those in each cell of a grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector


class MaxPool(Connector, name="max-pool"):
    """The feature map is max-pooled over the whole and to `cells` x `cells`; one projection serves all, and a learned
    position, at first a sine-cosine one as large as the features themselves, says where a cell is.

    A maximum over places is enough to learn what is in a picture from its caption, and finds where it is on the way
    (Oquab et al., CVPR 2015). Since cells are projected as the whole is, what is learned of the whole is at once true
    of the cells, and what belongs to one object stays together in the cells that show it.
    """

    class Config(Connector.Config):
        cells: int = Field(default=4, ge=1, description="rows and columns that leave, after the token of the whole")

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return 1 + self.cells**2

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.projection = nn.Linear(in_dim, out_dim)
        self.positions = nn.Parameter(sine_cosine(config.cells, out_dim))

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = self.grid
        image = features[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        cells = F.adaptive_max_pool2d(image, self.config.cells).flatten(2).transpose(1, 2)
        whole = cells.amax(dim=1, keepdim=True)
        tokens = self.projection(F.gelu(torch.cat([whole, cells], dim=1)))
        return tokens + F.pad(self.positions, (0, 0, 1, 0))

    def pooled(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


def sine_cosine(cells: int, dim: int) -> Tensor:
    """Positions `[cells * cells, dim]` of a square grid, a half of `dim` for columns and a half for rows, each cosines
    and sines of 1, 2, ... half turns over the picture; whether one cell is left of another is nearly linear in them."""
    quarter = -(-dim // 4)
    places = (torch.arange(cells) + 0.5) / cells * math.pi
    angles = places[:, None] * torch.arange(1, quarter + 1)
    line = torch.cat([angles.cos(), angles.sin()], dim=-1) / 2**0.5
    columns, rows = line.expand(cells, cells, -1), line[:, None].expand(cells, cells, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)[:, :dim].clone()
