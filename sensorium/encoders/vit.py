"""A vision transformer (Dosovitskiy et al., arXiv 2010.11929) with a patch or a convolutional stem.

The convolutional stem (Xiao et al., arXiv 2106.14881) reaches the same grid by stride-2 convolutions; it learns
several times faster from nothing. With the patch stem and a class token this is the ViT of `transformers`; CLIP's and
SigLIP's are spelt out in `sensorium.interop.clip` and `sensorium.interop.siglip`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.activation import Activation
from sensorium.encoders.block import Block, small_branches
from sensorium.encoders.encoder import Encoder, Normalise, rounded_up


class ViT(Encoder, name="vit"):
    """Pre-norm transformer over patches with learned positions."""

    class Config(Encoder.Config):
        image_size: int = Field(default=64, ge=8, description="side of the square input in pixels")
        patch_size: int = Field(
            default=8,
            ge=2,
            description="pixels per patch side; the conv stem needs a multiple as image_size, the patch stem leaves "
            "out what is beyond the last whole patch",
        )
        width: int = Field(default=128, ge=8, description="feature width")
        depth: int = Field(default=4, ge=0, description="transformer blocks")
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        stem: Literal["conv", "patch"] = "conv"
        stem_blocks: int = Field(default=0, ge=0, description="residual 3x3 convolutions on the grid, for wider view")
        stem_bias: bool = Field(default=True, description="of the patch stem; CLIP has none")
        class_token: bool = False
        initial_norm: bool = Field(default=False, description="normalise before the first block, as CLIP does")
        activation: Activation = Field(default="gelu", description="quick-gelu: CLIP's; gelu-tanh: SigLIP's")
        position_std: float = Field(
            default=0.02,
            ge=0,
            description="of learned positions at first; large, where nothing else tells places apart",
        )
        block_norm: Literal["before", "after"] = Field(
            default="before", description="attention and feed-forward; after: what they add, as in EVA2-CLIP-E"
        )
        final_norm: bool = True
        norm_eps: float = 1e-6
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
        std: tuple[float, float, float] = (0.5, 0.5, 0.5)

        @model_validator(mode="after")
        def _dimensions(self) -> ViT.Config:
            if self.image_size % self.patch_size and self.stem == "conv":
                raise ValueError(
                    f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; change one"
                )
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            if self.stem == "conv" and self.patch_size & (self.patch_size - 1):
                raise ValueError(
                    f"the convolutional stem halves the picture: patch_size {self.patch_size} is no power of 2"
                )
            return self

        @property
        def input_size(self) -> tuple[int, int]:
            return self.image_size, self.image_size

        @property
        def grid(self) -> tuple[int, int]:
            side = self.image_size // self.patch_size
            return side, side

        @property
        def tokens(self) -> int:
            return self.grid[0] * self.grid[1] + self.class_token

        @property
        def dim(self) -> int:
            return self.width

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.mean, config.std)
        self.stem = _conv_stem(config) if config.stem == "conv" else _patch_stem(config)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width)) if config.class_token else None
        self.positions = nn.Parameter(torch.randn(1, config.tokens, config.width) * config.position_std)
        self.initial_norm = nn.LayerNorm(config.width, config.norm_eps) if config.initial_norm else nn.Identity()
        inner = round(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            Block(
                config.width, config.num_heads, inner, config.norm_eps, config.activation, config.block_norm == "after"
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps) if config.final_norm else nn.Identity()
        self.blocks.apply(small_branches(config.depth))

    def forward(self, tiles: Tensor) -> Tensor:
        count, tiles = len(tiles), rounded_up(tiles)
        hidden = self.stem(self.normalise(tiles)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            hidden = torch.cat([self.class_token.expand(len(hidden), -1, -1), hidden], dim=1)
        hidden = self.initial_norm(hidden + self.positions)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)[:count]

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Positions on another grid are interpolated bicubically; that of the class token stays."""
        old, extra = state["positions"], int(self.config.class_token)
        side = math.isqrt(old.shape[1] - extra)
        cells = old[:, extra:].transpose(1, 2).unflatten(2, (side, side))
        resized = F.interpolate(cells, size=self.config.grid, mode="bicubic", align_corners=False)
        return {**state, "positions": torch.cat([old[:, :extra], resized.flatten(2).transpose(1, 2)], dim=1)}

    def shard_units(self) -> list[nn.Module]:
        return list(self.blocks)


def _patch_stem(config: ViT.Config) -> nn.Module:
    return nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=config.stem_bias)


def _conv_stem(config: ViT.Config) -> nn.Module:
    """Stride-2 convolutions down to the grid, channels doubling towards the width, then a 1x1 projection.

    Each channel is normalised over the picture by itself, which takes out what background a picture has; shapes are
    then learned from far fewer pictures than with one norm over all channels.
    """
    halvings = config.patch_size.bit_length() - 1
    layers: list[nn.Module] = []
    channels = 3
    for step in range(halvings):
        wider = max(8, config.width >> (halvings - 1 - step))
        layers += [nn.Conv2d(channels, wider, 3, 2, 1), nn.GroupNorm(wider, wider), nn.GELU()]
        channels = wider
    layers += [ResidualConv(channels) for _ in range(config.stem_blocks)]
    return nn.Sequential(*layers, nn.Conv2d(channels, config.width, 1))


class ResidualConv(nn.Module):
    """Two 3x3 convolutions around a GELU, added to what entered: each widens the view by four cells of the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels, channels)
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.first(self.norm(x))))
