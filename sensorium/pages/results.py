"""How pages read the examinations of a run: which metrics are its own, which goals were reached, what to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sensorium.evaluation.results import BLIND
from sensorium.evaluation.suite import Case, Metric, Report

FREE = frozenset({"caption", "prose"})
"""Kinds of cases whose answer is free text, neither right nor wrong as a whole."""
CHANCE = "chance"


def own(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of the model itself: not the twin's, and not those of guessing."""
    return {name: metric for name, metric in metrics.items() if not name.startswith((BLIND, CHANCE))}


def guessing(name: str, metrics: Mapping[str, Metric]) -> Metric | None:
    """What guessing reaches: `chance/NAME`, or the plain `chance` for the first metric, which it belongs to."""
    first = next(iter(own(metrics)), None)
    return metrics.get(f"{CHANCE}/{name}") or (metrics.get(CHANCE) if name == first else None)


def verdict(name: str, metric: Metric) -> str:
    """Whether a metric reached its goal: `reached`, `reached, within noise`, `missed`, or nothing without a goal or
    cases. The goal of a twin's metric is the most it may be."""
    if metric.goal is None or math.isnan(metric.value):
        return ""
    sign, surest = (-1, metric.ci95[1]) if name.startswith(BLIND) else (1, metric.ci95[0])
    if sign * metric.value < sign * metric.goal:
        return "missed"
    return "reached" if sign * surest >= sign * metric.goal else "reached, within noise"


def tally(metrics: Mapping[str, Metric]) -> tuple[int, int]:
    """How many goals were missed, and of how many."""
    found = [verdict(name, metric) for name, metric in metrics.items()]
    return found.count("missed"), sum(map(bool, found))


def graded(case: Case) -> bool:
    """Whether a case is right or wrong as a whole."""
    return case.kind not in FREE


def answers_of_twin(blind: Sequence[Report]) -> dict[tuple[str, str], str]:
    """What the text-only twin said, by sample and question."""
    return {(case.sample.name, case.question): case.answer for report in blind for case in report.cases}


def gallery(reports: Sequence[Report], pictures: int) -> dict[str, list[Case]]:
    """Cases by the name of their sample, for `pictures` samples evenly spaced over the suites: a fair look, chosen by
    nobody."""
    by_sample: dict[str, list[Case]] = {}
    for report in reports:
        for case in report.cases:
            if case.sample.images:
                by_sample.setdefault(case.sample.name, []).append(case)
    names = list(by_sample)
    shown = min(pictures, len(names))
    return {name: by_sample[name] for name in (names[i * len(names) // shown] for i in range(shown))}
