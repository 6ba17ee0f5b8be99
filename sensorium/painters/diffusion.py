"""A transformer as the network of diffusion (DiT, arXiv 2212.09748), where unCLIP has a U-Net."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.diffusion import TimeCode
from sensorium.painters.block import SteeredBlock
from sensorium.painters.denoiser import Denoiser


class DiffusionPainter(Denoiser, name="diffusion"):
    """The network is a transformer over patches of latents, whose blocks are steered by step and embedding."""

    class Config(Denoiser.Config):
        patch_size: int = Field(default=1, ge=1, description="latents a side that make a token")
        width: int = Field(default=128, ge=8)
        depth: int = Field(default=4, ge=1)
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)

        @model_validator(mode="after")
        def _dimensions(self) -> DiffusionPainter.Config:
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            return self

        def fits(self, size: tuple[int, int]) -> None:
            """A `ValueError` if tiles of (width, height) cannot be cut into its patches."""
            _, rows, columns = self.latents.shape(size)
            if rows % self.patch_size or columns % self.patch_size:
                raise ValueError(f"painter: latents of {rows}x{columns} in patches of {self.patch_size}; change one")

    config: Config

    def __init__(self, config: Config, joint_dim: int, size: tuple[int, int]) -> None:
        super().__init__(config, joint_dim, size)
        width, inner, patch = config.width, round(config.width * config.mlp_ratio), config.patch_size
        channels, rows, columns = self.shape
        cells = channels * patch**2
        self.enter = nn.Linear(cells, width)
        self.positions = nn.Parameter(torch.randn(rows * columns // patch**2, width) * 0.02)
        self.time = TimeCode(width)
        self.steer = nn.Linear(joint_dim, width)
        self.context = nn.Linear(joint_dim, config.context_tokens * width) if config.context_tokens else None
        self.blocks = nn.ModuleList(SteeredBlock(width, config.num_heads, inner) for _ in range(config.depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, cells)

    def forward(self, noisy: Tensor, times: Tensor, vectors: Tensor, kept: Tensor) -> Tensor:
        scaled = vectors * vectors.shape[1] ** 0.5 * kept[:, None]
        condition = self.time(times) + self.steer(scaled)
        hidden = self.enter(self._cut(noisy)) + self.positions
        if self.context is not None:
            context = self.context(scaled).unflatten(1, (self.config.context_tokens, -1))
            hidden = torch.cat([context.to(hidden.dtype), hidden], dim=1)
        for block in self.blocks:
            hidden = block.steered(hidden, condition)  # type: ignore[operator]
        return self._joined(self.leave(self.norm(hidden[:, self.config.context_tokens :])))

    def shard_units(self) -> list[nn.Module]:
        return list(self.blocks)

    def _cut(self, latents: Tensor) -> Tensor:
        """`[n, channels, rows, columns]` to `[n, patches, channels * patch^2]`."""
        return nn.functional.unfold(latents, self.config.patch_size, stride=self.config.patch_size).transpose(1, 2)

    def _joined(self, patches: Tensor) -> Tensor:
        patch = self.config.patch_size
        return nn.functional.fold(patches.transpose(1, 2), self.shape[1:], patch, stride=patch)
