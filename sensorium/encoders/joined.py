"""Several encoders side by side, their features joined channel by channel.

What Eagle (Shi et al., arXiv 2408.15998) found as good as any costlier fusion, and Cambrian-1 (arXiv 2406.16860) and
MoVA (arXiv 2404.13046) take as the baseline of several experts; Prismatic VLMs (arXiv 2402.07865) join DINOv2 and
SigLIP so, whose grids are the same.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.encoders.encoder import Encoder
from sensorium.encoders.resizing import grid_map, on_grid, resized


class Joined(Encoder, name="joined"):
    """Every encoder sees the whole tile, resized to its own input size and normalised its own way. Their feature maps
    are brought to one grid and concatenated in the order of the list; class tokens are left out."""

    class Config(Encoder.Config):
        encoders: tuple[Encoder.Config, ...] = Field(min_length=1, description="each by itself, with its own path")
        grid_size: tuple[int, int] | None = Field(
            default=None,
            description="(rows, columns) of the joined map, by default the first encoder's; maps are averaged where "
            "they shrink to it and bilinear where they grow",
        )

        @classmethod
        def example(cls) -> Self:
            small = {"type": "vit", "width": 16, "depth": 1, "num_heads": 2}
            fine = {**small, "image_size": 24, "patch_size": 4, "class_token": True, "mean": [0.2, 0.3, 0.4]}
            return cls.model_validate({"encoders": [{**small, "image_size": 32, "width": 24}, fine]})

        @model_validator(mode="after")
        def _each_tile_alone(self) -> Self:
            for member in self.encoders:
                member.needs_no_neighbours()
            if self.grid_size is not None and min(self.grid_size) < 1:
                raise ValueError(f"grid_size is {list(self.grid_size)}: give at least one row and one column")
            return self

        def miniature(self) -> Self:
            return self._each("miniature")

        def resolved(self) -> Self:
            return self._each("resolved")

        def _each(self, method: str) -> Self:
            members = tuple(getattr(member, method)() for member in self.encoders)
            return self.model_copy(update={"encoders": members})

        @property
        def input_size(self) -> tuple[int, int]:
            """The largest width and height of any, so that no encoder sees less than the tile has."""
            sizes = [member.input_size for member in self.encoders]
            return max(width for width, _ in sizes), max(height for _, height in sizes)

        @property
        def grid(self) -> tuple[int, int]:
            return self.grid_size or self.encoders[0].grid

        @property
        def dim(self) -> int:
            return sum(member.dim for member in self.encoders)

        def load_pretrained(self, part: Joined) -> None:
            for member, encoder in zip(self.encoders, part.encoders, strict=True):
                member.load_pretrained(encoder)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config = config.resolved()
        self.encoders = nn.ModuleList(member.build() for member in config.encoders)

    @property
    def members(self) -> list[tuple[Encoder.Config, Encoder]]:
        """Each encoder's config, and the encoder."""
        return list(zip(self.config.encoders, self.encoders, strict=True))  # type: ignore[arg-type]

    def forward(self, tiles: Tensor) -> Tensor:
        grid, maps = self.config.grid, []
        for config, encoder in self.members:
            features = encoder(resized(tiles, config.input_size))
            maps.append(on_grid(grid_map(features, config.grid), grid))
        return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each encoder carries its own."""
        for number, (_, encoder) in enumerate(self.members):
            state = encoder.carried_below(f"encoders.{number}.", state)
        return state

    def shard_units(self) -> list[nn.Module]:
        return [unit for _, encoder in self.members for unit in encoder.shard_units()]
