"""How likely a model finds held-out samples: finer than right or wrong, and for any task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from sensorium.data.source import Source
from sensorium.evaluation.suite import Metric, Report, Suite
from sensorium.generation.likelihood import likelihoods

Progress = Callable[[str, int, int], None]
TOGETHER = 32
"""Samples in a batch."""


class LikelihoodSuite(Suite, name="likelihood"):
    """`likelihood/NAME` is the mean log-likelihood of what is supervised in the source of that name, in nats a token;
    `likelihood` is the mean of these means, so that rare abilities count as much as frequent ones."""

    class Config(Suite.Config):
        sources: dict[str, Source.Config] = Field(min_length=1, description="held-out samples by the ability they need")
        samples: int = Field(default=200, ge=2, description="of each source, at most")

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        metrics: dict[str, Metric] = {}
        for name, config in self.config.sources.items():
            source = config.build()
            samples = [source[index] for index in range(min(self.config.samples, len(source)))]
            laid = [model.layout(sample.blind() if blind else sample) for sample in samples]
            totals, counts = [], []
            for start in range(0, len(laid), TOGETHER):
                total, count = likelihoods(model, laid[start : start + TOGETHER])
                totals, counts = [*totals, *total.tolist()], [*counts, *count.tolist()]
                if progress:
                    progress(name, len(totals), len(laid))
            metrics[f"likelihood/{name}"] = ratio(totals, counts)
        return Report("likelihood", {"likelihood": together(list(metrics.values())), **metrics})


def ratio(totals: Sequence[float], counts: Sequence[float]) -> Metric:
    """Nats a token over samples of unlike length, with the interval of a ratio estimate (Cochran, "Sampling
    Techniques", 1977, section 2.11): samples are drawn, not tokens."""
    n, value = len(totals), sum(totals) / sum(counts)
    squares = sum((total - value * count) ** 2 for total, count in zip(totals, counts, strict=True))
    spread = math.sqrt(squares * n / (n - 1)) / sum(counts)
    return Metric(value, n, (value - 1.959964 * spread, value + 1.959964 * spread))


def together(metrics: Sequence[Metric]) -> Metric:
    """The mean of independent means."""
    value = sum(metric.value for metric in metrics) / len(metrics)
    half = math.sqrt(sum((metric.ci95[1] - metric.value) ** 2 for metric in metrics)) / len(metrics)
    return Metric(value, sum(metric.n for metric in metrics), (value - half, value + half))
