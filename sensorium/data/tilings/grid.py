"""Any resolution by a grid of tiles and a thumbnail (LLaVA-NeXT; xGen-MM, arXiv 2408.08872, section 3.1)."""

from __future__ import annotations

import numpy as np
from PIL import Image as PILImage
from pydantic import Field

from sensorium.data.tiling import Box, TilePlan, Tiling, divided, pad_to, padded_view, to_tiles


class Grid(Tiling, name="grid"):
    """The canvas of `rows` x `columns` tiles that keeps most of the picture's pixels and wastes least; a picture no
    larger than one tile stays one tile. The thumbnail comes first, then the tiles row by row."""

    class Config(Tiling.Config):
        max_rows: int = Field(default=2, ge=1)
        max_columns: int = Field(default=2, ge=1)
        max_cells: int = Field(default=4, ge=1, description="rows x columns never exceeds this")
        fill: tuple[int, int, int] = (127, 127, 127)

        @property
        def max_tiles(self) -> int:
            return 1 + self.max_rows * self.max_columns

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        rows, columns = min(self._canvases(), key=lambda shape: self._cost(size, shape))
        return TilePlan(rows, columns, thumbnail=rows * columns > 1)

    def _canvases(self) -> list[tuple[int, int]]:
        config = self.config
        rows, columns = range(1, config.max_rows + 1), range(1, config.max_columns + 1)
        return [(r, c) for r in rows for c in columns if r * c <= config.max_cells]

    def _cost(self, size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
        """Most effective pixels first, then least waste (`select_best_resolution` of the released code)."""
        width, height = self.input_size[0] * shape[1], self.input_size[1] * shape[0]
        scale = min(width / size[0], height / size[1])
        effective = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return -effective, width * height - effective

    def cut(self, picture: PILImage.Image, plan: TilePlan) -> np.ndarray:
        width, height = self.input_size
        whole = to_tiles(pad_to(picture, self.input_size, self.config.fill))
        if not plan.thumbnail:
            return whole
        canvas = pad_to(picture, (width * plan.columns, height * plan.rows), self.config.fill)
        return np.concatenate([whole, to_tiles(canvas, plan.rows, plan.columns)])

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        whole = padded_view(size, self.input_size)
        if not plan.thumbnail:
            return [whole]
        width, height = self.input_size
        return [whole, *divided(padded_view(size, (width * plan.columns, height * plan.rows)), plan)]

    def positions(self, plan: TilePlan) -> list[int]:
        if not plan.thumbnail:
            return [0]
        cells = [1 + r * self.config.max_columns + c for r in range(plan.rows) for c in range(plan.columns)]
        return [0, *cells]
