"""A U-Net as the network of diffusion (ADM, Dhariwal & Nichol, arXiv 2105.05233), as unCLIP's decoder has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.diffusion import TimeCode
from sensorium.painters.denoiser import Denoiser


class UNetPainter(Denoiser, name="unet"):
    """Levels of residual blocks, each at half the resolution of the one before and with more channels, then back up,
    where each block sees what its mirror made on the way down. What is learned at one place is known at all others."""

    class Config(Denoiser.Config):
        width: int = Field(default=32, ge=8, multiple_of=8, description="channels where the resolution is highest")
        multiples: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1, description="of the width, at each level")
        depth: int = Field(
            default=1, ge=1, description="residual blocks of a level on the way down; one more on that up"
        )
        attention: tuple[int, ...] = Field(default=(8,), description="rows of the maps that attend to themselves")
        head_dim: int = Field(default=32, ge=1, description="channels of an attention head")

        @model_validator(mode="after")
        def _heads_divide(self) -> UNetPainter.Config:
            attending = self.multiples if self.attention else self.multiples[-1:]  # the middle always does
            for multiple in attending:
                if self.width * multiple % self.head_dim:
                    raise ValueError(
                        f"{self.width * multiple} channels (width {self.width} x {multiple}) do not split into heads "
                        f"of head_dim {self.head_dim}; change one"
                    )
            return self

        def fits(self, size: tuple[int, int]) -> None:
            """A `ValueError` if latents of tiles of (width, height) cannot be halved often enough."""
            _, rows, columns = self.latents.shape(size)
            halved = 2 ** (len(self.multiples) - 1)
            if rows % halved or columns % halved:
                raise ValueError(
                    f"painter: latents of {rows}x{columns} cannot be halved {len(self.multiples) - 1} times; "
                    "give fewer multiples or another size"
                )

    config: Config

    def __init__(self, config: Config, joint_dim: int, size: tuple[int, int]) -> None:
        super().__init__(config, joint_dim, size)
        channels, rows, _ = self.shape
        widths, steering = [config.width * multiple for multiple in config.multiples], 4 * config.width
        self.time = TimeCode(steering)
        self.steer = nn.Linear(joint_dim, steering)
        self.context = nn.Linear(joint_dim, config.context_tokens * steering) if config.context_tokens else None
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)

        def residual(entering: int, number: int, resize: Resize = unchanged) -> Residual:
            attends = resize is unchanged and rows >> number in config.attention
            return Residual(entering, widths[number], steering, config.head_dim if attends else 0, resize)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        kept, now = [widths[0]], widths[0]
        for number, width in enumerate(widths):
            for _ in range(config.depth):
                self.down.append(residual(now, number))
                kept.append(now := width)
            if number + 1 < len(widths):
                self.down.append(residual(now, number, halved))
                kept.append(now)
        around = (config.head_dim, 0)  # attention between the two in the middle
        self.middle = nn.ModuleList(Residual(now, now, steering, head_dim) for head_dim in around)
        for number in reversed(range(len(widths))):
            for _ in range(config.depth + 1):
                self.up.append(residual(now + kept.pop(), number))
                now = widths[number]
            if number:
                self.up.append(residual(now, number, doubled))
        self.norm, self.leave = normalised(now), nn.Conv2d(now, channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor, times: Tensor, vectors: Tensor, kept: Tensor) -> Tensor:
        scaled = vectors * vectors.shape[1] ** 0.5 * kept[:, None]
        condition = F.silu(self.time(times) + self.steer(scaled))
        context = None
        if self.context is not None:
            context = self.context(scaled).unflatten(1, (self.config.context_tokens, -1))
        hidden = self.enter(noisy)
        seen = [hidden]
        for layer in self.down:
            hidden = layer(hidden, condition, context)
            seen.append(hidden)
        for layer in self.middle:
            hidden = layer(hidden, condition, context)
        for layer in self.up:
            beside = seen.pop() if layer.resize is unchanged else None
            hidden = layer(hidden if beside is None else torch.cat([hidden, beside], dim=1), condition, context)
        return self.leave(F.silu(self.norm(hidden)))

    def shard_units(self) -> list[nn.Module]:
        return [*self.down, *self.middle, *self.up]


def normalised(channels: int) -> nn.GroupNorm:
    """In 32 groups, as in the paper, or as many as there may be."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


Resize = Callable[[Tensor], Tensor]
"""A map `[n, channels, rows, columns]` at another resolution."""


def unchanged(hidden: Tensor) -> Tensor:
    return hidden


def halved(hidden: Tensor) -> Tensor:
    return F.avg_pool2d(hidden, 2)


def doubled(hidden: Tensor) -> Tensor:
    return hidden.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class Residual(nn.Module):
    """Two convolutions, the second behind a norm that the condition scales and shifts (adaptive group normalisation,
    section 3), between them perhaps another resolution (BigGAN, arXiv 1809.11096), and attention if heads have a width.
    What is added is nothing at first."""

    def __init__(self, entering: int, leaving: int, steering: int, head_dim: int, resize: Resize = unchanged) -> None:
        super().__init__()
        self.resize = resize
        self.first_norm, self.first = normalised(entering), nn.Conv2d(entering, leaving, 3, padding=1)
        self.steering = nn.Linear(steering, 2 * leaving)
        self.second_norm, self.second = normalised(leaving), nn.Conv2d(leaving, leaving, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        self.past = nn.Identity() if entering == leaving else nn.Conv2d(entering, leaving, 1)
        self.attention = Attention(leaving, steering, head_dim) if head_dim else None

    def forward(self, hidden: Tensor, condition: Tensor, context: Tensor | None) -> Tensor:
        """`[n, entering, rows, columns]` to `[n, leaving, rows, columns]`, resized, under conditions `[n, steering]`
        and tokens of context `[n, tokens, steering]`."""
        scale, shift = self.steering(condition)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(self.resize(F.silu(self.first_norm(hidden))))
        inner = self.second(F.silu(self.second_norm(inner) * (1 + scale) + shift))
        hidden = self.past(self.resize(hidden)) + inner
        return hidden if self.attention is None else hidden + self.attention(hidden, context)


class Attention(nn.Module):
    """All places of a map attend to each other, and to the tokens of context (GLIDE, arXiv 2112.10741, section 3)."""

    def __init__(self, width: int, steering: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim, self.norm = head_dim, normalised(width)
        self.qkv, self.told = nn.Linear(width, 3 * width), nn.Linear(steering, 2 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, context: Tensor | None) -> Tensor:
        """What is added to a map `[n, width, rows, columns]`; context is `[n, tokens, steering]`."""
        queries, keys, values = self.qkv(self.norm(hidden).flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        if context is not None:
            more = self.told(context).chunk(2, dim=-1)
            keys, values = torch.cat([more[0], keys], dim=1), torch.cat([more[1], values], dim=1)
        queries, keys, values = (self._heads(tokens) for tokens in (queries, keys, values))
        found = F.scaled_dot_product_attention(queries, keys, values)
        return self.out(found.transpose(1, 2).flatten(2)).transpose(1, 2).view_as(hidden)

    def _heads(self, tokens: Tensor) -> Tensor:
        """`[n, tokens, width]` to `[n, heads, tokens, head_dim]`."""
        return tokens.unflatten(2, (-1, self.head_dim)).transpose(1, 2)
