"""Each tile through the connector by itself, its padding hidden from it (xGen-MM, arXiv 2408.08872, section 3.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sensorium.assembly.assembly import Assembly, Connect
from sensorium.assembly.stitched import stitched, unpadded
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut

Grid = tuple[int, int]


class MaskedTiles(Assembly, name="masked-tiles"):
    """Tile after tile, each turned into tokens by a connector that does not see the features of its padding. The
    thumbnail and a single tile are seen whole; features without a place (a class token) are left out.

    `strips` is what xGen-MM's released code does and its weights expect: the cells are stitched to one map, which is
    then cut into as many runs of its raster order as there are cells. Of a map two cells wide a run is a strip of both.
    """

    class Config(Assembly.Config):
        masks: ClassVar[bool] = True
        view: Literal["tiles", "strips"] = Field(
            default="tiles", description="what the connector is given beside the thumbnail; strips for released weights"
        )
        hides: bool = Field(
            default=True, description="padding from the connector; xGen-MM's first release lets it look there"
        )

        def entering(self, tokens: int, grid: Grid) -> tuple[int, Grid]:
            return grid[0] * grid[1], grid

    config: Config

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        places = self.grid[0] * self.grid[1]
        features, strips = features[:, -places:], self.config.view == "strips"
        shown = [np.zeros((0, places), dtype=bool)]
        order, first = [np.zeros((0, places), dtype=np.int64)], 0
        for cut in pictures.cuts:
            shown.append(_shown(cut, self.grid, strips))
            order.append(_order(cut, self.grid) + first if strips else order[0])
            first += cut.plan.tiles * places
        if strips:
            numbers = torch.from_numpy(np.concatenate(order)).to(features.device)
            features = features.flatten(0, 1)[numbers]
        if not self.config.hides:
            return torch.flatten(connect(features), 0, 1)
        mask = torch.from_numpy(np.concatenate(shown)).to(features.device)
        return torch.flatten(connect(features, mask), 0, 1)


@lru_cache(maxsize=1024)
def _shown(cut: Cut, grid: Grid, strips: bool) -> np.ndarray:
    """bool `[tiles, places]`: which features of a picture are not padding."""
    plan = cut.plan
    shown = np.ones((plan.tiles, grid[0] * grid[1]), dtype=bool)
    if not plan.padded or plan.tiles == 1:
        return shown
    numbers = stitched(plan, grid)
    of_map = np.zeros(numbers.shape, dtype=bool)
    of_map[unpadded(cut.size, (len(numbers), numbers.shape[1]), digits=17 if strips else 7)] = True
    cells = np.empty(numbers.size, dtype=bool)
    cells[np.arange(numbers.size) if strips else numbers.ravel()] = of_map.ravel()
    shown[plan.first_cell :][: plan.cells] = cells.reshape(plan.cells, -1)
    return shown


@lru_cache(maxsize=1024)
def _order(cut: Cut, grid: Grid) -> np.ndarray:
    """int64 `[tiles, places]`: the numbers of a picture's features as strips."""
    plan, places = cut.plan, grid[0] * grid[1]
    order = np.arange(plan.tiles * places).reshape(plan.tiles, places)
    cells = stitched(plan, grid).reshape(plan.cells, places) + plan.first_cell * places
    order[plan.first_cell :][: plan.cells] = cells
    return order
