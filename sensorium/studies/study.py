"""A study: A with a mechanism against B without, at the same budget, over several seeds.

It gives an effect with its uncertainty, and a verdict on what somebody claimed:

    @study
    def connector() -> Study:
        "A perceiver against an MLP."
        claim = Claim("fewer tokens, as good answers", "arXiv 2408.08872, section 3", winner="perceiver", loser="mlp")
        arms = {"perceiver": find_recipe("demo-resampler"), "mlp": find_recipe("demo-mlp")}
        return Study(name="connector", summary="...", arms=arms, claims=(claim,), metric="accuracy")
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.config import nearest
from sensorium.errors import ConfigError
from sensorium.evaluation.suite import Metric
from sensorium.named import Named
from sensorium.recipe import Recipe

Arm = Recipe | Callable[[int, Path], Recipe]
"""One side of a comparison: a recipe, or a function that makes one for a seed. The function may prepare data in a
folder that all arms and seeds of the study share; called again, it must find what it made and give the same recipe."""

Verdict = Literal["reproduced", "not reproduced", "contradicted"]


@dataclass(frozen=True)
class Claim:
    """That the arm `winner` has a better metric than the arm `loser`, by more than `least` in the metric's unit.

    `source` says who claims it, and where: a paper and its section.
    """

    text: str
    source: str
    winner: str
    loser: str
    least: float = 0.0

    def judge(self, lead: Metric) -> Verdict:
        """The verdict on a lead of the winner's: reproduced if all of the interval is above `least`, contradicted if
        all of it is below 0. Else the data do not tell, or the lead is smaller than claimed."""
        low, high = lead.ci95
        if low > self.least:
            return "reproduced"
        return "contradicted" if high < 0 else "not reproduced"


@dataclass(frozen=True)
class Study:
    """Arms, each trained with every seed, and claims about them. `metric` is the name of one that the suites of every
    arm's `evaluation` report."""

    name: str
    summary: str
    arms: Mapping[str, Arm]
    claims: tuple[Claim, ...]
    metric: str
    better: Literal["higher", "lower"] = "higher"
    seeds: int = 3

    def __post_init__(self) -> None:
        for arm in self.arms:
            if not re.fullmatch(r"[\w.-]*\w", arm) or arm == "shared":
                raise ConfigError(f"study '{self.name}': an arm cannot be called '{arm}', as its folder would be")
        for claim in self.claims:
            for arm in (claim.winner, claim.loser):
                if arm not in self.arms:
                    raise ConfigError(f"study '{self.name}': a claim names the arm '{arm}': {nearest(arm, self.arms)}")
        if not self.claims:
            raise ConfigError(f"study '{self.name}': has no claim; say which arm is to win, and who says so")

    def lead(self, claim: Claim, values: Mapping[str, Sequence[float]]) -> Metric:
        """By how much a claim's winner leads: the mean of the differences of runs with the same seed."""
        sign = 1 if self.better == "higher" else -1
        pairs = zip(values[claim.winner], values[claim.loser], strict=True)
        return mean([sign * (winner - loser) for winner, loser in pairs])


STUDIES: Named[Study] = Named("study", "sensorium.studies")


def study(function: Callable[[], Study]) -> Callable[[], Study]:
    """Register a function that returns a study; its name, with dashes, is what users type."""
    return STUDIES.register(function)


def mean(values: Sequence[float]) -> Metric:
    """The mean with its 95 % interval by Student's t (1908); without bounds for a single value."""
    n = len(values)
    middle = sum(values) / n
    if n == 1:
        return Metric(middle, n, (-math.inf, math.inf))
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (n - 1) / n)
    half = t_quantile(n - 1) * spread
    return Metric(middle, n, (middle - half, middle + half))


def t_quantile(degrees: int) -> float:
    """The t that Student's distribution exceeds in absolute value in 5 of 100 cases, by bisection."""
    low, high = 0.0, math.pi / 2
    while high - low > 1e-12:
        angle = (low + high) / 2
        low, high = (angle, high) if within(angle, degrees) < 0.95 else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def within(angle: float, degrees: int) -> float:
    """The probability that |t| is at most sqrt(degrees) tan(angle), for whole degrees of freedom (Abramowitz & Stegun,
    26.7.3 and 26.7.4)."""
    odd = degrees % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for place in range(2 + odd, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (place - 1) / place
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
