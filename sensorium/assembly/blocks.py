"""Neighbouring patches enter the connector together (Qwen2-VL, arXiv 2409.12191, section 2.1)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sensorium.assembly.assembly import Assembly, Connect, Pieces, TileTokens
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut
from sensorium.errors import ConfigError

Grid = tuple[int, int]


class Blocks(Assembly, name="blocks"):
    """For pictures cut into patches (`native`), of which each is a tile: the connector is given every `side` x `side`
    block of them at once, in reading order. A pixel shuffle of the same scale then merges neighbours, as it does within
    the feature map of a tile."""

    class Config(Assembly.Config):
        side: int = Field(
            default=2, ge=1, description="patches a side of a block; the tiling's `multiple` is one of it"
        )

        def entering(self, tokens: int, grid: Grid) -> tuple[int, Grid]:
            if (tokens, grid) != (1, (1, 1)):
                raise ConfigError(
                    f"assembly 'blocks' joins tiles of one patch, and this encoder makes {grid[0]} x {grid[1]} features"
                    " of a tile: choose the encoder navit with the tiling native, or the assembly tiles"
                )
            return self.side**2, (self.side, self.side)

        def pieces(self, cut: Cut, tile: TileTokens) -> Pieces:
            plan = cut.plan
            if plan.rows % self.side or plan.columns % self.side or plan.thumbnail:
                tiles = f"{plan.rows} x {plan.columns} tiles{' and a thumbnail' * plan.thumbnail}"
                raise ConfigError(
                    f"assembly 'blocks': {tiles} are no blocks of {self.side} x {self.side}; "
                    f"set the tiling to native with multiple={self.side}"
                )
            return [plan.cells // self.side**2 * tile.tokens]

    config: Config

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        side = self.config.side
        numbers, first = [np.zeros((0, side**2), dtype=np.int64)], 0
        for cut in pictures.cuts:
            numbers.append(_blocks(cut.plan.rows, cut.plan.columns, side) + first)
            first += cut.plan.tiles
        chosen = torch.from_numpy(np.concatenate(numbers)).to(features.device)
        return torch.flatten(connect(features[:, 0][chosen]), 0, 1)


@lru_cache(maxsize=1024)
def _blocks(rows: int, columns: int, side: int) -> np.ndarray:
    """int64 `[blocks, side * side]`: the numbers of the patches of each block, row by row."""
    numbers = np.arange(rows * columns).reshape(rows // side, side, columns // side, side)
    return numbers.transpose(0, 2, 1, 3).reshape(-1, side**2)
