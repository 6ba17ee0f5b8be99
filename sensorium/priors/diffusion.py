"""The diffusion prior (unCLIP, arXiv 2204.06125, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.diffusion import Prediction, Schedule, TimeCode, ddim, errors, guided, normal
from sensorium.encoders.block import Block
from sensorium.heads.embedding import unit
from sensorium.priors.prior import Prior, Wording


class DiffusionPrior(Prior, name="diffusion"):
    """A causal transformer over the text's tokens, the text's embedding, the step, the noisy embedding of the picture
    and a learned query, whose place gives the picture's embedding without noise: it is predicted directly, not the
    noise. Embeddings are scaled to a variance of 1 a dimension before noise is added."""

    class Config(Prior.Config):
        width: int = Field(default=128, ge=8)
        depth: int = Field(default=4, ge=1)
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        longest: int = Field(default=77, ge=1, description="tokens of a text that are read; the rest is cut off")
        noise_steps: int = Field(default=1000, ge=2, description="of the cosine schedule")
        drop: float = Field(default=0.1, ge=0, lt=1, description="how often training withholds the text")
        guidance: float = Field(default=1.0, ge=0, description="1: as the text says; more: more so")
        sampling_steps: int = Field(default=64, ge=1)
        candidates: int = Field(
            default=2, ge=1, description="embeddings drawn for each one wanted; the likest to the text's is kept"
        )

        @model_validator(mode="after")
        def _dimensions(self) -> DiffusionPrior.Config:
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            return self

    config: Config
    prediction: Prediction = "x0"

    def __init__(self, config: Config, joint_dim: int, text_dim: int) -> None:
        super().__init__(config, joint_dim, text_dim)
        width, inner = config.width, round(config.width * config.mlp_ratio)
        self.joint_dim, self.schedule = joint_dim, Schedule.cosine(config.noise_steps)
        self.read = nn.Linear(text_dim, width)
        self.text, self.noisy = nn.Linear(joint_dim, width), nn.Linear(joint_dim, width)
        self.time = TimeCode(width)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(config.longest + 4, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, config.num_heads, inner, 1e-5, "gelu") for _ in range(config.depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, joint_dim)

    def scaled(self, vectors: Tensor) -> Tensor:
        """Embeddings of length 1 as diffusion wants them."""
        return vectors * self.joint_dim**0.5

    def forward(self, noisy: Tensor, times: Tensor, wording: Wording, kept: Tensor) -> Tensor:
        """Noisy embeddings `[n, joint_dim]` at steps int64 `[n]` to what they are without noise, of the same shape;
        texts that are not `kept`, bool `[n]`, are withheld."""
        words = self.read(wording.tokens[:, : self.config.longest])
        texts = self.scaled(wording.vectors) * kept[:, None]
        last = [self.text(texts), self.time(times), self.noisy(noisy), self.query.expand(len(noisy), -1)]
        tail = torch.stack([one.to(words.dtype) for one in last], dim=1)
        places = torch.cat([self.positions[: words.shape[1]], self.positions[-4:]])
        hidden = torch.cat([words, tail], dim=1) + places
        real = F.pad(wording.real[:, : self.config.longest] & kept[:, None], (0, 4), value=True)
        length = hidden.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=noisy.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=noisy.device)  # padding attends to something, too
        attend = partial(F.scaled_dot_product_attention, attn_mask=((real[:, None] & before) | itself)[:, None])
        for block in self.blocks:
            hidden = block(hidden, attend)
        return self.leave(self.norm(hidden[:, -1]))

    def errors(self, vectors: Tensor, wording: Wording, dice: Sequence[torch.Generator]) -> Tensor:
        """The equation of the diffusion prior in section 2.2, on scaled embeddings."""

        def guess(noisy: Tensor, times: Tensor, kept: Tensor) -> Tensor:
            return self(noisy, times, wording, kept)

        return errors(guess, self.scaled(vectors), self.schedule, self.prediction, self.config.drop, dice)

    def imagine(self, wording: Wording, dice: Sequence[torch.Generator]) -> Tensor:
        config, count = self.config, self.config.candidates
        asked = wording.repeated(count)
        noise = normal(dice, (count, self.joint_dim), wording.vectors).flatten(0, 1)
        all_kept = torch.ones(len(noise), dtype=torch.bool, device=noise.device)
        guess = guided(
            lambda noisy, times: self(noisy, times, asked, all_kept),
            lambda noisy, times: self(noisy, times, asked, ~all_kept),
            config.guidance,
        )
        found = unit(ddim(guess, noise, self.schedule, self.prediction, config.sampling_steps)).unflatten(
            0, (-1, count)
        )
        best = torch.einsum("ncd,nd->nc", found, wording.vectors.to(found)).argmax(dim=1)
        return found[torch.arange(len(found), device=found.device), best]
