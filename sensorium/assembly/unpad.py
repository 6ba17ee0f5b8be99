"""Tiles as one map, its padding cut away, its rows ended by a learned feature (LLaVA-NeXT's `spatial_unpad`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.assembly.assembly import Assembly, Connect, Pieces, TileTokens
from sensorium.assembly.stitched import stitched, unpadded
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut
from sensorium.errors import ConfigError

Grid = tuple[int, int]


class Unpad(Assembly, name="unpad"):
    """The tokens of the thumbnail as they are; those of the cells as one map, from which rows or columns that show
    nothing but padding are cut, and with a newline behind each row; in the order of the tiles. A single tile is as it
    is, with one newline behind it."""

    class Config(Assembly.Config):
        def pieces(self, cut: Cut, tile: TileTokens) -> Pieces:
            grid = self._grid(tile)
            if cut.plan.tiles == 1:
                return [tile.tokens + 1]
            rows, columns = (side.stop - side.start for side in _shown(cut, grid))
            return [rows * (columns + 1) + cut.plan.thumbnail * tile.tokens]

        def _grid(self, tile: TileTokens) -> Grid:
            if tile.grid is None:
                raise ConfigError(
                    "assembly 'unpad': the connector's tokens have no places in the picture, so none can be cut away; "
                    "choose mlp, average-pool or pixel-shuffle, or the assembly masked-tiles"
                )
            return tile.grid

    def __init__(self, config: Config, dim: int, max_tiles: int, grid: Grid, tile: TileTokens) -> None:
        super().__init__(config, dim, max_tiles, grid, tile)
        self.places = config._grid(tile)
        self.newline = nn.Parameter(torch.randn(dim) * dim**-0.5)

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        tokens = torch.flatten(connect(features), 0, 1)
        chosen, first = [np.zeros(0, dtype=np.int64)], 0
        for cut in pictures.cuts:
            numbers = _order(cut, self.places)
            chosen.append(np.where(numbers < 0, len(tokens), numbers + first))
            first += cut.plan.tiles * self.tile.tokens
        known = torch.cat([tokens, self.newline[None].to(tokens.dtype)])
        return known[torch.from_numpy(np.concatenate(chosen)).to(tokens.device)]


def _shown(cut: Cut, grid: Grid) -> tuple[slice, slice]:
    """The rows and columns of the cells' map that are kept."""
    shape = cut.plan.rows * grid[0], cut.plan.columns * grid[1]
    return unpadded(cut.size, shape) if cut.plan.padded else (slice(0, shape[0]), slice(0, shape[1]))


@lru_cache(maxsize=4096)
def _order(cut: Cut, grid: Grid) -> np.ndarray:
    """The numbers of a picture's tokens in the order in which they leave, -1 for a newline."""
    plan, places = cut.plan, grid[0] * grid[1]
    if plan.tiles == 1:
        return np.append(np.arange(places), -1)
    shown = stitched(plan, grid)[_shown(cut, grid)] + plan.first_cell * places
    rows = np.concatenate([shown, np.full((len(shown), 1), -1)], axis=1).ravel()
    thumbnail = np.arange(places) + (plan.cells * places if plan.thumbnail_last else 0)
    return np.concatenate(plan.ordered(thumbnail, [rows]))
