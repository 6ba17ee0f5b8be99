"""Native resolution: a tile is a patch, and a picture is as many as it has room for (NaViT, arXiv 2307.06304)."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from sensorium.data.tiling import TilePlan, Tiling


class Native(Tiling, name="native"):
    """The picture is stretched to the nearest multiples of a patch and cut into patches, so its aspect is kept but for
    rounding; it is made smaller or larger only where it would be more or fewer patches than are allowed. The arithmetic
    is that of Qwen2-VL (arXiv 2409.12191, section 2.1). For encoders that read patches, such as `navit`."""

    class Config(Tiling.Config):
        min_patches: int = Field(default=4, ge=1)
        max_patches: int = Field(default=1024, ge=1, description="patches of a picture, at most")
        multiple: int = Field(default=1, ge=1, description="rows and columns are multiples of this, for `blocks`")

        @model_validator(mode="after")
        def _possible(self) -> Self:
            if self.max_patches < max(self.min_patches, self.multiple**2):
                raise ValueError(
                    f"max_patches {self.max_patches} leaves no picture: min_patches is {self.min_patches} and the "
                    f"smallest has {self.multiple} x {self.multiple}; raise max_patches"
                )
            return self

        @property
        def max_tiles(self) -> int:
            return self.max_patches

    config: Config

    def plan(self, size: tuple[int, int]) -> TilePlan:
        unit, patch = self.config.multiple, self.input_size[0] * self.input_size[1]
        factors = [side * unit for side in self.input_size]
        columns, rows = (round(size[side] / factors[side]) for side in (0, 1))
        if columns * rows * unit**2 > self.config.max_patches:
            beta = math.sqrt(size[0] * size[1] / (self.config.max_patches * patch))
            columns, rows = (math.floor(size[side] / beta / factors[side]) for side in (0, 1))
        elif columns * rows * unit**2 < self.config.min_patches:
            beta = math.sqrt(self.config.min_patches * patch / (size[0] * size[1]))
            columns, rows = (math.ceil(size[side] * beta / factors[side]) for side in (0, 1))
        most = self.config.max_patches // unit**2
        columns = min(max(1, columns), most)  # beyond what rounding does for a long and narrow picture
        rows = min(max(1, rows), most // columns)
        return TilePlan(rows * unit, columns * unit)
