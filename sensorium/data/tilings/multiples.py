"""Any resolution by sides that are whole tiles: InfiMM-HD, nanoVLM, Idefics3 and SmolVLM."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from sensorium.data.tiling import TilePlan, Tiling


class Multiples(Tiling, name="multiples"):
    """The picture is stretched to the multiples of a tile nearest its own sides, at most `max_side` tiles a side, so
    its aspect is kept but for rounding and nothing is padded; beside several tiles there is a thumbnail.

    `nearest`: a picture whose longer side has no place is made smaller, then each side is rounded to the nearest
    multiple (InfiMM-HD, arXiv 2403.01487, section 3.3, which leaves the rounding open). `up`: each side is rounded up,
    the shorter one once the longer one has been (nanoVLM). `full`: the same, with the longer side always of `max_side`
    tiles (nanoVLM with `resize_to_max_side_len`). `idefics3`: as `full`, in the arithmetic of Idefics3 and SmolVLM
    (arXiv 2408.12637, section 4.2), which makes the shorter side a whole, even number of pixels first.
    """

    class Config(Tiling.Config):
        max_side: int = Field(default=3, ge=1, description="tiles a side, at most")
        rounding: Literal["nearest", "up", "full", "idefics3"] = "nearest"
        thumbnail: Literal["first", "last"] = "first"

        @property
        def max_tiles(self) -> int:
            return 1 + self.max_side**2

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        columns, rows = self._sides(size)
        last = self.config.thumbnail == "last"
        return TilePlan(rows, columns, thumbnail=rows * columns > 1, thumbnail_last=last)

    def _sides(self, size: tuple[int, int]) -> tuple[int, int]:
        """Tiles a side, (columns, rows)."""
        most, tile = self.config.max_side, self.input_size
        if self.config.rounding == "nearest":
            scale = min(1.0, *(most * tile[side] / size[side] for side in (0, 1)))
            columns, rows = (min(max(1, round(size[side] * scale / tile[side])), most) for side in (0, 1))
            return columns, rows
        long = int(size[1] > size[0])
        short = 1 - long
        many = min(most, math.ceil(size[long] / tile[long])) if self.config.rounding == "up" else most
        pixels = many * tile[long]
        if self.config.rounding == "idefics3":
            aspect = size[0] / size[1]
            other = int(pixels * aspect if long else pixels / aspect)
            other = max(1, other + other % 2)
            aspect = other / pixels if long else pixels / other
            other = int(pixels * aspect if long else pixels / aspect)
        else:
            other = size[short] * (pixels / size[long])
        few = min(max(1, math.ceil(other / tile[short])), most)
        return (few, many) if long else (many, few)

    def positions(self, plan: TilePlan) -> list[int]:
        if plan.tiles == 1:
            return [0]
        wide = self.config.max_side
        return plan.ordered(0, [1 + r * wide + c for r in range(plan.rows) for c in range(plan.columns)])
