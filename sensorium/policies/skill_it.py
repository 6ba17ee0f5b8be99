"""Skill-It: sources that teach what is known worst are drawn more (arXiv 2307.14430, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from sensorium.policies.policy import Policy


class SkillIt(Policy, name="skill-it"):
    """Multiplicative weights over a graph of skills: `graph[i][j]` says how much training on source `i` helps target
    `j`. A source's weight is its prior times exp(eta * sum_j graph[i][j] * (sum of the last losses of j)); before the
    first round, times exp(eta * sum_j graph[i][j]) (section 3.2). `sensorium data skills` learns the graph."""

    class Config(Policy.Config):
        graph: tuple[tuple[float, ...], ...] = Field(
            default=(), description="a row for each source, a column for each target, none negative"
        )
        eta: float = Field(default=0.5, ge=0, description="how sharply weights follow losses; 0 leaves the prior")
        window: int = Field(default=3, ge=1, description="rounds whose losses are added up")

        def check(self, sources: int) -> None:
            if len(self.graph) != sources or any(len(row) != len(self.targets) for row in self.graph):
                found = f"{len(self.graph)} x {len(self.graph[0]) if self.graph else 0}"
                raise ValueError(f"policy.graph is {found}; expected {sources} sources x {len(self.targets)} targets")
            if any(edge < 0 for row in self.graph for edge in row):
                raise ValueError("policy.graph has negative edges; a source that harms a target has the edge 0")

    config: Config

    def weights(self, prior: Sequence[float], losses: Sequence[Sequence[float]]) -> list[float]:
        recent = losses[-self.config.window :]
        known = [sum(column) for column in zip(*recent, strict=True)] if recent else [1.0] * len(self.config.targets)
        powers = [
            self.config.eta * sum(edge * loss for edge, loss in zip(row, known, strict=True))
            for row in self.config.graph
        ]
        highest = max(powers)  # a common factor, which keeps the exponentials small
        return [weight * math.exp(power - highest) for weight, power in zip(prior, powers, strict=True)]
