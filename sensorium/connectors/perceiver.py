"""The perceiver resampler (Flamingo, arXiv 2204.14198, section 3.1; used by xGen-MM, arXiv 2408.08872)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.activation import Activation, activation
from sensorium.connectors.connector import Connector, Instruction, Located, without_projection
from sensorium.connectors.mlp import feed_forward
from sensorium.initialisation import unit_variance


class Perceiver(Connector, name="perceiver"):
    """A fixed number of learned latents attend to the features and to themselves, layer by layer.

    With `instruction_tokens` the embeddings of what is asked, mapped to the width of the latents, attend with them, so
    that what leaves depends on the question (xGen-MM's first release, InstructBLIP's idea, arXiv 2305.06500)."""

    class Config(Connector.Config):
        takes_mask: ClassVar[bool] = True
        latents: int = Field(default=64, ge=1, description="tokens that leave, whatever enters")
        depth: int = Field(default=2, ge=1, description="attention and feed-forward layers")
        num_heads: int = Field(default=8, ge=1)
        head_dim: int = Field(default=64, ge=1)
        ff_ratio: int = Field(default=4, ge=1)
        activation: Activation = "gelu"
        qk_norm: bool = Field(default=False, description="normalise the queries and keys of each head (Idefics)")
        projection: bool = Field(default=True, description="to the width asked for; otherwise that is the encoder's")
        time_embeddings: int = Field(
            default=0, ge=0, description="frames of a video that have a learned embedding, a picture being one frame"
        )
        instruction_tokens: int = Field(
            default=0,
            ge=0,
            description="first tokens of what is asked that query the features beside the latents (xGen-MM r-v1)",
        )
        placeholders: bool = Field(
            default=False, description="what is asked has the template's token of a picture where one stands (r-v1)"
        )

        @property
        def reads(self) -> int:
            return self.instruction_tokens

        @property
        def reads_placeholders(self) -> bool:
            return self.placeholders

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return self.latents

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
            return None

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.latents = nn.Parameter(torch.randn(config.latents, in_dim))
        self.layers = nn.ModuleList(PerceiverLayer(config, in_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(in_dim)
        self.times = nn.Parameter(torch.randn(config.time_embeddings, 1, in_dim)) if config.time_embeddings else None
        if not config.projection:
            without_projection("perceiver", in_dim, out_dim)
        self.projection = nn.Linear(in_dim, out_dim) if config.projection else nn.Identity()
        self.text_projection = feed_forward(out_dim, in_dim, 2) if config.instruction_tokens else None

    def forward(self, features: Tensor, mask: Tensor | None = None, instruction: Instruction | None = None) -> Tensor:
        """`features` `[n, tokens, in_dim]`, or `[n, frames, tokens, in_dim]` of videos, whose frames share the latents.
        `mask` bool `[n, tokens]` is true for the features that may be seen; the latents always see themselves. The
        tokens of an `instruction` look around as latents do, are seen by them, and do not leave."""
        if self.times is not None:
            features = self._timed(features if features.ndim == 4 else features[:, None]).flatten(1, 2)
        latents = self.latents.expand(len(features), -1, -1)
        if self.text_projection is not None:
            instruction = instruction or Instruction.none(len(features), self.out_dim, features.device)
            seen = features.new_ones(features.shape[:2], dtype=torch.bool) if mask is None else mask
            mask = torch.cat([seen, seen.new_ones(latents.shape[:2]), instruction.mask], dim=1)
            latents = torch.cat([latents, self.text_projection(instruction.tokens)], dim=1)
        for layer in self.layers:
            latents = layer(features, latents, mask)
        return self.projection(self.norm(latents[:, : len(self.latents)]))

    def _timed(self, frames: Tensor) -> Tensor:
        """Each frame with the embedding of its time, interpolated where there are more frames than were learned
        (Flamingo, appendix A.3.2)."""
        times, count = self.times, frames.shape[1]
        assert times is not None
        if count > len(times):
            times = F.interpolate(times.permute(1, 2, 0), size=count, mode="linear", align_corners=True).permute(
                2, 0, 1
            )
        return frames + times[:count]

    def located(self, features: Tensor) -> Located:
        """Latents have no places; the features that they gather have, and are read as latents are in the end."""
        places = features[:, -self.grid[0] * self.grid[1] :].unflatten(1, self.grid)
        return Located(self.projection(self.norm(places)))

    def shard_units(self) -> list[nn.Module]:
        return list(self.layers)


class PerceiverLayer(nn.Module):
    """Latents query the features and themselves, then a feed-forward; both residual, no biases."""

    def __init__(self, config: Perceiver.Config, dim: int) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.media_norm, self.latent_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)
        self.q_norm, self.k_norm = (
            nn.LayerNorm(config.head_dim) if config.qk_norm else nn.Identity() for _ in range(2)
        )
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, config.ff_ratio * dim, bias=False),
            activation(config.activation),
            nn.Linear(config.ff_ratio * dim, dim, bias=False),
        )
        self.apply(unit_variance)

    def forward(self, features: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.latent_norm(latents)
        keys_values = torch.cat([self.media_norm(features), normed], dim=1)
        q = self._heads(self.to_q(normed))
        k, v = (self._heads(x) for x in self.to_kv(keys_values).chunk(2, dim=-1))
        if mask is not None:
            unnamed = keys_values.shape[1] - mask.shape[1]
            mask = torch.cat([mask, mask.new_ones(len(mask), unnamed)], dim=1)[:, None, None]
        attended = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, attn_mask=mask)
        latents = latents + self.to_out(attended.transpose(1, 2).flatten(2))
        return latents + self.feed_forward(latents)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
