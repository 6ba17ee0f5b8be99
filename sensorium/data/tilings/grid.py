"""Any resolution by a grid of tiles and a thumbnail (LLaVA-NeXT; xGen-MM, arXiv 2408.08872, section 3.1)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from PIL import Image as PILImage
from pydantic import Field

from sensorium.data.tiling import WHOLE, Box, TilePlan, Tiling, divided, pad_to, padded_view, resized, to_tiles

Side = Annotated[int, Field(ge=1)]


class Grid(Tiling, name="grid"):
    """The canvas of `rows` x `columns` tiles that keeps most of the picture's pixels and wastes least; the picture is
    centred on it with its aspect kept. By default a picture no larger than one tile stays one tile; of several, the
    thumbnail comes first, then the tiles row by row."""

    class Config(Tiling.Config):
        max_rows: int = Field(default=2, ge=1)
        max_columns: int = Field(default=2, ge=1)
        max_cells: int = Field(default=4, ge=1, description="rows x columns never exceeds this")
        canvases: tuple[tuple[Side, Side], ...] = Field(
            default=(),
            description="(rows, columns) of the canvases there are, the first of those that do equally well is taken; "
            "by default all that max_rows, max_columns and max_cells allow",
        )
        thumbnail: Literal["pad", "stretch"] = Field(default="pad", description="how the whole is made one tile")
        always_thumbnail: bool = Field(default=False, description="one beside a single tile, too, as released code has")
        fill: tuple[int, int, int] = (127, 127, 127)

        @property
        def allowed(self) -> tuple[tuple[int, int], ...]:
            rows, columns = range(1, self.max_rows + 1), range(1, self.max_columns + 1)
            return self.canvases or tuple((r, c) for r in rows for c in columns if r * c <= self.max_cells)

        @property
        def columns(self) -> int:
            """The columns of the widest canvas."""
            return max(columns for _, columns in self.allowed)

        @property
        def max_tiles(self) -> int:
            return 1 + max(rows for rows, _ in self.allowed) * self.columns

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        rows, columns = min(self.config.allowed, key=lambda shape: self._cost(size, shape))
        return TilePlan(rows, columns, thumbnail=self.config.always_thumbnail or rows * columns > 1, padded=True)

    def _cost(self, size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
        """Most effective pixels first, then least waste (`select_best_resolution` of the released code)."""
        width, height = self.input_size[0] * shape[1], self.input_size[1] * shape[0]
        scale = min(width / size[0], height / size[1])
        effective = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return -effective, width * height - effective

    def cut(self, picture: PILImage.Image, plan: TilePlan) -> np.ndarray:
        canvas = pad_to(picture, self._canvas(plan), self.config.fill, whole=math.ceil)
        return self.joined(plan, lambda: self._thumbnail(picture), to_tiles(canvas, plan.rows, plan.columns))

    def _canvas(self, plan: TilePlan) -> tuple[int, int]:
        return self.input_size[0] * plan.columns, self.input_size[1] * plan.rows

    def _thumbnail(self, picture: PILImage.Image) -> np.ndarray:
        if self.config.thumbnail == "stretch":
            return to_tiles(resized(picture, self.input_size))
        return to_tiles(pad_to(picture, self.input_size, self.config.fill, whole=math.ceil))

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        whole = padded_view(size, self.input_size, math.ceil) if self.config.thumbnail == "pad" else WHOLE
        return plan.ordered(whole, divided(padded_view(size, self._canvas(plan), math.ceil), plan))

    def positions(self, plan: TilePlan) -> list[int]:
        if plan.tiles == 1:
            return [0]
        wide = self.config.columns
        return plan.ordered(0, [1 + r * wide + c for r in range(plan.rows) for c in range(plan.columns)])
