"""What diffusion models share: how much noise there is at each step, what a network is asked for, and the way back.

At step t, clean data x0 and noise e are mixed to `signal * x0 + spread * e` with `signal^2 + spread^2 = 1`; `signal^2`
is called alpha_bar (Ho et al., arXiv 2006.11239, equation 4).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Prediction = Literal["x0", "epsilon", "v"]
"""What a network predicts: the clean data, the noise, or `signal * e - spread * x0` (arXiv 2202.00512, section 4)."""
CLEAN = -1
"""The step before the first, at which there is no noise."""


@dataclass(frozen=True)
class Schedule:
    """`alpha_bars`, float64 `[steps]` on the CPU, fall from almost 1 to almost 0."""

    alpha_bars: Tensor

    @classmethod
    def cosine(cls, steps: int, offset: float = 0.008, most: float = 0.999) -> Schedule:
        """Nichol & Dhariwal, arXiv 2102.09672, equation 17: alpha_bar follows a squared cosine, and no step takes more
        than `most` of what is left."""
        angle = (torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps + offset) / (1 + offset)
        curve = (angle * math.pi / 2).cos() ** 2
        return cls((curve[1:] / curve[:-1]).clamp(min=1 - most).cumprod(0))

    def __len__(self) -> int:
        return len(self.alpha_bars)

    def levels(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and spread at steps int64 `[n]` on the CPU, each `[n, 1, ...]`, to go with `like` `[n, ...]`."""
        bars = torch.cat([self.alpha_bars, self.alpha_bars.new_ones(1)])[times]  # CLEAN is the last
        shape = (-1, *[1] * (like.ndim - 1))
        return tuple(level.to(like).view(shape) for level in (bars.sqrt(), (1 - bars).sqrt()))  # type: ignore[return-value]

    def descent(self, count: int) -> list[int]:
        """`count` steps from the noisiest down, evenly spaced, then `CLEAN`."""
        count = min(count, len(self))
        return [math.ceil(len(self) * i / count) - 1 for i in range(count, 0, -1)] + [CLEAN]


class Parted(NamedTuple):
    """Noisy data taken apart."""

    x0: Tensor
    noise: Tensor


def asked(kind: Prediction, parted: Parted, signal: Tensor, spread: Tensor) -> Tensor:
    """What a network is to predict."""
    return {"x0": parted.x0, "epsilon": parted.noise, "v": signal * parted.noise - spread * parted.x0}[kind]


def understood(kind: Prediction, given: Tensor, noisy: Tensor, signal: Tensor, spread: Tensor) -> Parted:
    """What a prediction says of the noisy data: the inverse of `asked`."""
    if kind == "x0":
        return Parted(given, (noisy - signal * given) / spread)
    if kind == "epsilon":
        return Parted((noisy - spread * given) / signal, given)
    return Parted(signal * noisy - spread * given, spread * noisy + signal * given)


Guess = Callable[[Tensor, Tensor], Tensor]
"""Noisy data `[n, ...]` and steps int64 `[n]` to a prediction `[n, ...]`."""


def guided(guess: Guess, freely: Guess, guidance: float) -> Guess:
    """Classifier-free guidance (arXiv 2207.12598): away from what is guessed `freely`, without the condition. At 1 it
    is the conditional guess alone, at 0 the free one."""
    if guidance == 1:
        return guess
    return lambda noisy, times: freely(noisy, times).lerp(guess(noisy, times), guidance)


def ddim(
    guess: Guess,
    noise: Tensor,
    schedule: Schedule,
    kind: Prediction,
    count: int,
    settle: Callable[[Tensor], Tensor] = lambda x0: x0,
) -> Tensor:
    """From noise `[n, ...]` to data in `count` steps (DDIM, arXiv 2010.02502, equation 12 with eta = 0): nothing is
    drawn on the way. `settle` brings a guess of the data into its bounds."""
    noisy = noise
    for now, after in pairwise(schedule.descent(count)):
        times, later = (torch.full((len(noisy),), step) for step in (now, after))
        signal, spread = schedule.levels(times, noisy)
        x0 = settle(understood(kind, guess(noisy, times.to(noisy.device)).to(noisy.dtype), noisy, signal, spread).x0)
        left = (noisy - signal * x0) / spread
        signal, spread = schedule.levels(later, noisy)
        noisy = signal * x0 + spread * left
    return noisy


def dice_of(names: Sequence[str], seed: int) -> list[torch.Generator]:
    """A source of chance for each item by its name: what it draws does not depend on the items beside it, so that a
    step may be split in any way."""
    seeds = [hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in names]
    return [torch.Generator().manual_seed(int.from_bytes(one, "little") >> 1) for one in seeds]


def normal(dice: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal `[n, *shape]`, each row from its own dice, on the device and in the precision of `like`."""
    rows = [torch.randn(*shape, generator=one, device="cpu") for one in dice]
    return torch.stack(rows).to(like) if rows else like.new_zeros(0, *shape)


def errors(
    guess: Callable[[Tensor, Tensor, Tensor], Tensor],
    clean: Tensor,
    schedule: Schedule,
    kind: Prediction,
    drop: float,
    dice: Sequence[torch.Generator],
) -> Tensor:
    """`[n]`: the mean squared error of a network on data `[n, ...]` with noise, as much as a step drawn for each says.
    `guess` is told, too, for whom the condition is kept, bool `[n]`: withheld it is as often as `drop` says."""
    times = [int(torch.randint(len(schedule), (1,), generator=one, device="cpu")) for one in dice]
    kept = [float(torch.rand(1, generator=one, device="cpu")) >= drop for one in dice]
    steps = torch.tensor(times, dtype=torch.int64, device="cpu")
    mixed = Parted(clean, normal(dice, clean.shape[1:], clean))
    signal, spread = schedule.levels(steps, clean)
    whole = torch.tensor(kept, dtype=torch.bool, device="cpu").to(clean.device)
    given = guess(signal * mixed.x0 + spread * mixed.noise, steps.to(clean.device), whole).to(clean.dtype)
    return (given - asked(kind, mixed, signal, spread)).square().flatten(1).mean(1)


class TimeCode(nn.Module):
    """Steps to vectors: sines and cosines of many periods (arXiv 1706.03762, section 3.5), then two linear maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        """int64 `[n]` to `[n, width]`."""
        weight: Tensor = self.layers[0].weight  # type: ignore[assignment]
        half = self.width // 2
        speeds = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / half)
        angles = (times[:, None] * speeds).to(weight.dtype)
        code = torch.cat([angles.sin(), angles.cos()], dim=1)
        return self.layers(nn.functional.pad(code, (0, self.width - 2 * half)))
