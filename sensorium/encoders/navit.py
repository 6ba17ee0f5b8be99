"""A vision transformer for pictures of any size, packed (NaViT, arXiv 2307.06304): a tile is a patch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.activation import Activation
from sensorium.data.batch import Pictures
from sensorium.data.packing import decreasing
from sensorium.data.tiling import TilePlan
from sensorium.encoders.block import Block, small_branches
from sensorium.encoders.encoder import Encoder, Normalise
from sensorium.encoders.hf import normalisation
from sensorium.errors import ConfigError
from sensorium.interop.naflex import load_naflex, naflex_config


class NaViT(Encoder, name="navit"):
    """For the tiling `native`: the patches of a picture attend to each other and to no other's, whatever the size; each
    leaves as one feature. Pictures of a batch share sequences as long as the longest of them, first fit, longest first,
    so that the cost is not that of padding. Of a square picture of `side` patches it is the `vit` with the patch stem,
    and takes its weights.

    Positions are a learned square map of `side` x `side`, resized to the picture (`interpolated`, as in SigLIP 2's
    NaFlex, arXiv 2502.14786, section 2.4), or a vector for each row plus one for each column (`factorised`, NaViT,
    section 2.1), resized only where the picture has more of them than `side`.
    """

    class Config(Encoder.Config):
        path: str = Field(
            default="",
            description="a local folder of SigLIP 2 for pictures of any size (NaFlex), for its weights; an error says "
            "what keys to set",
        )
        patch_size: int = Field(default=8, ge=2, description="pixels per patch side")
        side: int = Field(default=8, ge=1, description="rows and columns of the learned positions")
        positions: Literal["interpolated", "factorised"] = "interpolated"
        width: int = Field(default=128, ge=8, description="feature width")
        depth: int = Field(default=4, ge=0, description="transformer blocks")
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        activation: Activation = Field(default="gelu", description="gelu-tanh: SigLIP's")
        norm_eps: float = 1e-6
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
        std: tuple[float, float, float] = (0.5, 0.5, 0.5)

        @model_validator(mode="after")
        def _dimensions(self) -> Self:
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            return self

        def miniature(self) -> Self:
            return super().miniature().model_copy(update={"path": ""})

        def load_pretrained(self, part: NaViT) -> None:
            if not self.path:
                return
            found = naflex_config(self.path) | normalisation(self.path)
            if wrong := {key: value for key, value in found.items() if getattr(self, key) != value}:
                fix = ", ".join(f"{key}: {value}" for key, value in wrong.items())
                raise ConfigError(f"encoder 'navit': {self.path} has other values; set {fix}")
            load_naflex(part, self.path)

        @property
        def input_size(self) -> tuple[int, int]:
            return self.patch_size, self.patch_size

        @property
        def grid(self) -> tuple[int, int]:
            return 1, 1

        @property
        def dim(self) -> int:
            return self.width

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.mean, config.std)
        self.stem = nn.Conv2d(3, config.width, config.patch_size, config.patch_size)
        number = config.side**2 if config.positions == "interpolated" else 2 * config.side
        self.positions = nn.Parameter(torch.randn(1, number, config.width) * 0.02)
        inner = round(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            Block(config.width, config.num_heads, inner, config.norm_eps, config.activation)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.blocks.apply(small_branches(config.depth))

    def forward(self, tiles: Tensor) -> Tensor:
        """A `ConfigError`: by itself a tile is one patch, and says nothing."""
        raise ConfigError(
            "encoder 'navit' reads pictures, whose tiles are patches, and this looks at tiles: objectives on tiles "
            "(caption-tokens, region-tokens), the edit ridge-start and cache_features need an encoder such as vit"
        )

    def features(self, tiles: Tensor, pictures: Pictures) -> Tensor:
        """`tiles` uint8 `[patches, 3, patch_size, patch_size]` of all `pictures` to `[patches, 1, width]`."""
        plans = [cut.plan for cut in pictures.cuts]
        if any(plan.thumbnail for plan in plans):
            raise ConfigError("encoder 'navit': a thumbnail among the patches; choose the tiling native")
        if not plans:
            return self._encoded(tiles.new_zeros(1, *tiles.shape[1:]), [TilePlan()])[:0]
        return self._encoded(tiles, plans)

    def _encoded(self, tiles: Tensor, plans: Sequence[TilePlan]) -> Tensor:
        pixels = self.normalise(tiles).flatten(1)
        hidden = F.linear(
            pixels, self.stem.weight.flatten(1), self.stem.bias
        )  # what the convolution does, once a patch
        hidden = hidden + self._placed(plans)
        packing = Packing.of([plan.cells for plan in plans], hidden.device)
        packed = torch.cat([hidden, hidden.new_zeros(1, hidden.shape[1])])[packing.numbers]
        attend = partial(F.scaled_dot_product_attention, attn_mask=packing.mask)
        for block in self.blocks:
            packed = block(packed, attend)
        return self.norm(torch.flatten(packed, 0, 1)[packing.places])[:, None]

    def _placed(self, plans: Sequence[TilePlan]) -> Tensor:
        """The positions `[patches, width]` of the patches of all pictures."""
        known: dict[tuple[int, int], Tensor] = {}
        for plan in plans:
            if (shape := (plan.rows, plan.columns)) not in known:
                known[shape] = self._positions(*shape)
        return torch.cat([known[plan.rows, plan.columns] for plan in plans])

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The positions `[rows * columns, width]` of a picture's patches, row by row."""
        side = self.config.side
        if self.config.positions == "interpolated":
            learned = self.positions.transpose(1, 2).unflatten(2, (side, side))
            if (rows, columns) != (side, side):
                learned = F.interpolate(learned.float(), (rows, columns), mode="bilinear", antialias=True)
            return learned[0].flatten(1).T
        of_rows, of_columns = (
            table if number <= side else F.interpolate(table.float(), number, mode="linear")
            for table, number in zip(self.positions.transpose(1, 2).split(side, dim=2), (rows, columns), strict=True)
        )
        return (of_rows[0, :, :rows, None] + of_columns[0, :, None, :columns]).flatten(1).T

    def shard_units(self) -> list[nn.Module]:
        return list(self.blocks)


class Packing(NamedTuple):
    """Pictures side by side in sequences of the same length."""

    numbers: Tensor
    """int64 `[rows, length]`: the patch at each place; the number behind the last where there is none"""
    places: Tensor
    """int64 `[patches]`: where each patch stands in the flattened rows"""
    mask: Tensor | None
    """bool `[rows, 1, length, length]`: true within a picture; None where each row is one picture, and full"""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packing:
        longest, patches = max(lengths), sum(lengths)
        bins = decreasing([(length, 0) for length in lengths], (longest, 0), best=False)
        starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
        numbers = torch.full((len(bins), longest), patches)
        owners = torch.full((len(bins), longest), -1)
        for row, chosen in enumerate(bins):
            taken = torch.cat([torch.arange(starts[i], starts[i + 1]) for i in chosen])
            numbers[row, : len(taken)] = taken
            owners[row, : len(taken)] = torch.cat([torch.full((lengths[i],), i) for i in chosen])
        there = (numbers < patches).flatten().nonzero()[:, 0]
        places = there[numbers.flatten()[there].argsort()]
        alone = len(bins) == len(lengths) and patches == numbers.numel()
        mask = None if alone else (owners[:, :, None] == owners[:, None])[:, None].to(device)
        return cls(numbers.to(device), places.to(device), mask)
