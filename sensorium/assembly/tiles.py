"""Tile after tile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.assembly.assembly import Assembly, Connect, TileTokens
from sensorium.data.batch import Pictures


class Tiles(Assembly, name="tiles"):
    """The tokens of the tiles one after another. Where pictures are tiled, a learned code that starts at zero tells the
    tiles' places apart."""

    class Config(Assembly.Config):
        positions: bool = True

    def __init__(self, config: Config, dim: int, max_tiles: int, grid: tuple[int, int], tile: TileTokens) -> None:
        super().__init__(config, dim, max_tiles, grid, tile)
        self.positions = nn.Embedding(max_tiles, dim) if config.positions and max_tiles > 1 else None
        if self.positions is not None:
            nn.init.zeros_(self.positions.weight)

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        media = connect(features)
        if self.positions is not None:
            media = media + self.positions(pictures.tile_positions)[:, None]
        return torch.flatten(media, 0, 1)
