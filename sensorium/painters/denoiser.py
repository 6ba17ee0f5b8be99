"""Diffusion over latents, steered by the embedding of a picture (unCLIP, arXiv 2204.06125, section 2.1): what is asked
of any network, and how pictures come of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from sensorium.diffusion import Prediction, Schedule, ddim, errors, guided, normal
from sensorium.latents.latents import Latents, as_tiles
from sensorium.painters.painter import Painter


class Denoiser(Painter):
    """A painter is a network that sees noisy latents, the step and the embedding. As in the paper the embedding is
    projected and added to the code of the step, and projected to tokens of context beside those of the picture. The
    text itself, which the paper found to matter little here, is not read."""

    class Config(Painter.Config):
        latents: Latents.Config = Field(
            default_factory=lambda: Latents.Config.model_validate("autoencoder"), description="what noise is added to"
        )
        context_tokens: int = Field(default=4, ge=0, description="tokens made of the embedding")
        prediction: Prediction = Field(default="v", description="what the network predicts")
        noise_steps: int = Field(default=1000, ge=2, description="of the cosine schedule")
        drop: float = Field(default=0.1, ge=0, lt=1, description="how often training withholds the embedding")
        guidance: float = Field(default=2.0, ge=0, description="1: as the embedding says; more: more so")
        sampling_steps: int = Field(default=25, ge=1)

    config: Config

    def __init__(self, config: Config, joint_dim: int, size: tuple[int, int]) -> None:
        super().__init__(config, joint_dim, size)
        self.latents: Latents = config.latents.build(size=size)
        self.shape, self.schedule = config.latents.shape(size), Schedule.cosine(config.noise_steps)
        self.prediction: Prediction = config.prediction

    @abstractmethod
    def forward(self, noisy: Tensor, times: Tensor, vectors: Tensor, kept: Tensor) -> Tensor:
        """Noisy latents `[n, channels, rows, columns]` at steps int64 `[n]` to a prediction of the same shape;
        embeddings `[n, joint_dim]` that are not `kept`, bool `[n]`, are withheld."""

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

    def at_best(self, tiles: Tensor) -> Tensor:
        """What its latents keep of them."""
        return as_tiles(self.latents.decode(self.latents.encode(tiles)))
