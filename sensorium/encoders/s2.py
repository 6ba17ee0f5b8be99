"""One encoder at several scales of a picture: S2, scaling on scales (Shi et al., arXiv 2403.13043, section 3)."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.encoders.encoder import Encoder
from sensorium.encoders.resizing import grid_map, on_grid, resized


class S2(Encoder, name="s2"):
    """A picture of `scales[-1]` times the encoder's input size is resized to each scale, cut into tiles of that size,
    and each tile is encoded by itself. The maps of a scale's tiles are laid out as the tiles were, averaged down to
    the map of one, and the scales concatenated channel by channel, the smallest first. Class tokens are left out.

    Bunny v1.1 (arXiv 2402.11530) is SigLIP at scales 1, 2, 3 with `antialias: false`: 729 features of 3456.
    """

    class Config(Encoder.Config):
        encoder: Encoder.Config = Field(description="any encoder that sees each tile by itself")
        scales: tuple[int, ...] = Field(default=(1, 2), min_length=1, description="multiples of its input size")
        antialias: bool = Field(
            default=True,
            description="false: smaller scales are sampled without a filter and not rounded to levels, as the authors' "
            "code does it, with which published weights were trained",
        )

        @classmethod
        def example(cls) -> Self:
            small = {"type": "vit", "image_size": 16, "patch_size": 4, "width": 16, "depth": 1, "num_heads": 2}
            return cls.model_validate({"encoder": {**small, "class_token": True}, "scales": [1, 2]})

        @model_validator(mode="after")
        def _scales_rise(self) -> Self:
            self.encoder.needs_no_neighbours()
            if self.scales[0] < 1 or list(self.scales) != sorted(set(self.scales)):
                raise ValueError(f"scales are {list(self.scales)}: give whole numbers from 1 that rise, as [1, 2]")
            return self

        def miniature(self) -> Self:
            return self.model_copy(update={"encoder": self.encoder.miniature()})

        def resolved(self) -> Self:
            return self.model_copy(update={"encoder": self.encoder.resolved()})

        @property
        def input_size(self) -> tuple[int, int]:
            width, height = self.encoder.input_size
            return self.scales[-1] * width, self.scales[-1] * height

        @property
        def grid(self) -> tuple[int, int]:
            return self.encoder.grid

        @property
        def dim(self) -> int:
            return len(self.scales) * self.encoder.dim

        def load_pretrained(self, part: S2) -> None:
            self.encoder.load_pretrained(part.encoder)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config = config.resolved()
        self.encoder: Encoder = config.encoder.build()

    def forward(self, tiles: Tensor) -> Tensor:
        config, grid = self.config, self.config.grid
        pieces = [self._cut(tiles, scale) for scale in config.scales]
        given = torch.cat(pieces)  # all at once: one pass for the encoder
        maps = grid_map(self.encoder(given), grid).split([len(piece) for piece in pieces])
        merged = [on_grid(_merged(cells, scale), grid) for cells, scale in zip(maps, config.scales, strict=True)]
        return torch.cat(merged, dim=1).flatten(2).transpose(1, 2)

    def _cut(self, tiles: Tensor, scale: int) -> Tensor:
        """`[n, 3, ...]` at this scale, cut into `[n * scale**2, 3, height, width]`, row by row."""
        width, height = self.config.encoder.input_size
        size = scale * width, scale * height
        if self.config.antialias:
            whole = resized(tiles, size)
        else:
            whole = F.interpolate(tiles.float(), size=size[::-1], mode="bicubic", align_corners=False)
        cells = whole.unflatten(3, (scale, width)).unflatten(2, (scale, height))
        return cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.encoder.carried_below("encoder.", state)

    def shard_units(self) -> list[nn.Module]:
        return self.encoder.shard_units()


def _merged(cells: Tensor, scale: int) -> Tensor:
    """The maps of tiles, `[n * scale**2, dim, rows, columns]`, as one map of each picture."""
    laid = cells.unflatten(0, (len(cells) // scale**2, scale, scale)).permute(0, 3, 1, 4, 2, 5)
    return laid.flatten(4, 5).flatten(2, 3)
