"""The evaluation contract: a suite takes the live model and reports each metric with its count and interval."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from sensorium.config import Part, PartConfig
from sensorium.sample import Sample


@dataclass(frozen=True)
class Metric:
    """A value over `n` cases with its 95 % interval, and what it was meant to reach, if anything."""

    value: float
    n: int
    ci95: tuple[float, float]
    goal: float | None = None
    unit: str = ""
    """of what is no share"""

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "n": self.n, "ci95": list(self.ci95)}


def proportion(hits: int, n: int) -> Metric:
    """A share with its Wilson score interval (Wilson, 1927), which stays inside [0, 1] for any count."""
    if not n:
        return Metric(float("nan"), 0, (0.0, 1.0))
    z, p = 1.959964, hits / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Metric(p, n, (max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)))


@dataclass(frozen=True)
class Case:
    """One thing that was asked, for the pages people look at."""

    sample: Sample
    question: str
    answer: str
    expected: str
    kind: str = ""

    @property
    def correct(self) -> bool:
        return self.answer == self.expected


@dataclass(frozen=True)
class Report:
    """What a suite found: metrics by name, and cases to look at."""

    suite: str
    metrics: dict[str, Metric]
    cases: list[Case] = field(default_factory=list)


class Suite(Part, family="suite", package="sensorium.evaluation.suites"):
    """Runs on a live model. `blind` withholds the pictures: how a text-only twin is examined."""

    class Config(PartConfig):
        goals: dict[str, float] = Field(
            default={},
            description="what metrics, by name, are meant to reach at least; those of the text-only twin, blind/NAME, "
            "at most",
        )

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def run(self, model: Any, blind: bool = False, progress: Callable[[str, int, int], None] | None = None) -> Report:
        """Examine the model; `progress(label, done, total)` is told how far it is."""
