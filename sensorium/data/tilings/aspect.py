"""Any resolution by the grid whose shape is nearest the picture's (InternVL 1.5, arXiv 2404.16821, section 3.2)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sensorium.data.tiling import TilePlan, Tiling


class Aspect(Tiling, name="aspect"):
    """The picture is stretched over the grid of `min_cells` to `max_cells` tiles whose width to height is nearest its
    own, so nothing is padded; the tiles come row by row, then a thumbnail unless there is one tile alone. Of grids of
    the same shape the larger one is taken where the picture has more than half of its pixels."""

    class Config(Tiling.Config):
        min_cells: int = Field(default=1, ge=1)
        max_cells: int = Field(default=12, ge=1)

        @model_validator(mode="after")
        def _some(self) -> Self:
            if self.min_cells > self.max_cells:
                raise ValueError(f"min_cells {self.min_cells} is more than max_cells {self.max_cells}; change one")
            return self

        @property
        def max_tiles(self) -> int:
            return 1 + self.max_cells

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        least, most = self.config.min_cells, self.config.max_cells
        sides = range(1, most + 1)
        grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
        nearest, (columns, rows) = float("inf"), (1, 1)
        for grid in sorted(grids, key=lambda grid: grid[0] * grid[1]):
            distance = abs(size[0] / size[1] - grid[0] / grid[1])
            area = self.input_size[0] * self.input_size[1] * grid[0] * grid[1]
            if distance < nearest or (distance == nearest and size[0] * size[1] > 0.5 * area):
                nearest, (columns, rows) = distance, grid
        return TilePlan(rows, columns, thumbnail=rows * columns > 1, thumbnail_last=True)
