"""Diffusion over latents, steered by the embedding of a picture (unCLIP, arXiv 2204.06125, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.diffusion import Prediction, Schedule, TimeCode, ddim, errors, guided, normal
from sensorium.latents.latents import Latents, as_tiles
from sensorium.painters.block import SteeredBlock
from sensorium.painters.painter import Painter


class DiffusionPainter(Painter, name="diffusion"):
    """The embedding is projected and added to the code of the step, and projected to tokens of context beside those of
    the picture, as in the paper. The network between is a transformer over patches of latents (DiT, arXiv 2212.09748)
    where the paper has a U-Net; the text itself, which the paper found to matter little here, is not read."""

    class Config(Painter.Config):
        latents: Latents.Config = Field(
            default_factory=lambda: Latents.Config.model_validate("autoencoder"), description="what noise is added to"
        )
        patch_size: int = Field(default=1, ge=1, description="latents a side that make a token")
        width: int = Field(default=128, ge=8)
        depth: int = Field(default=4, ge=1)
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        context_tokens: int = Field(default=4, ge=0, description="tokens made of the embedding")
        prediction: Prediction = Field(default="v", description="what the network predicts")
        noise_steps: int = Field(default=1000, ge=2, description="of the cosine schedule")
        drop: float = Field(default=0.1, ge=0, lt=1, description="how often training withholds the embedding")
        guidance: float = Field(default=2.0, ge=0, description="1: as the embedding says; more: more so")
        sampling_steps: int = Field(default=25, ge=1)

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
        self.latents: Latents = config.latents.build(size=size)
        self.shape, self.schedule = config.latents.shape(size), Schedule.cosine(config.noise_steps)
        self.prediction: Prediction = config.prediction
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
        """Noisy latents `[n, channels, rows, columns]` at steps int64 `[n]` to a prediction of the same shape;
        embeddings `[n, joint_dim]` that are not `kept`, bool `[n]`, are withheld."""
        scaled = vectors * vectors.shape[1] ** 0.5 * kept[:, None]
        condition = self.time(times) + self.steer(scaled)
        hidden = self.enter(self._cut(noisy)) + self.positions
        if self.context is not None:
            context = self.context(scaled).unflatten(1, (self.config.context_tokens, -1))
            hidden = torch.cat([context.to(hidden.dtype), hidden], dim=1)
        for block in self.blocks:
            hidden = block.steered(hidden, condition)  # type: ignore[operator]
        return self._joined(self.leave(self.norm(hidden[:, self.config.context_tokens :])))

    def _cut(self, latents: Tensor) -> Tensor:
        """`[n, channels, rows, columns]` to `[n, patches, channels * patch^2]`."""
        return nn.functional.unfold(latents, self.config.patch_size, stride=self.config.patch_size).transpose(1, 2)

    def _joined(self, patches: Tensor) -> Tensor:
        patch = self.config.patch_size
        return nn.functional.fold(patches.transpose(1, 2), self.shape[1:], patch, stride=patch)

    def errors(self, tiles: Tensor, vectors: Tensor, dice: Sequence[torch.Generator]) -> Tensor:
        with torch.no_grad():  # latents are learned by the objective `reconstruction`
            latents = self.latents.encode(tiles).to(vectors.dtype)

        def guess(noisy: Tensor, times: Tensor, kept: Tensor) -> Tensor:
            return self(noisy, times, vectors, kept)

        return errors(guess, latents, self.schedule, self.prediction, self.config.drop, dice)

    def paint(
        self,
        vectors: Tensor,
        dice: Sequence[torch.Generator],
        guidance: float | None = None,
        steps: int | None = None,
    ) -> Tensor:
        config = self.config
        all_kept = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        guess = guided(
            lambda noisy, times: self(noisy, times, vectors, all_kept),
            lambda noisy, times: self(noisy, times, vectors, ~all_kept),
            config.guidance if guidance is None else guidance,
        )
        noise, count = normal(dice, self.shape, vectors), steps or config.sampling_steps
        latents = ddim(guess, noise, self.schedule, self.prediction, count, self.latents.settle)
        return as_tiles(self.latents.decode(latents))
