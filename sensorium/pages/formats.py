"""Numbers as people read them, the same on pages and in the terminal."""

from __future__ import annotations

import math

from sensorium.evaluation.suite import Metric


def amount(number: float) -> str:
    """Large counts in three digits: 950, 12.3 k, 1.24 M, 7.1 B."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            scaled = number / limit
            return f"{scaled:.{max(0, 2 - int(math.log10(abs(scaled))))}f} {unit}"
    return f"{number:g}" if isinstance(number, int) else f"{number:.3g}"


def tick(number: float) -> str:
    """A round value on an axis, as short as it goes: 0.002, 8 k."""
    for limit, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= limit:
            return f"{number / limit:g}{unit}"
    return f"{number:.6g}"


def duration(seconds: float) -> str:
    """Seconds as `48 s`, `6 min 3 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def is_share(metric: Metric) -> bool:
    """Whether a metric lies between 0 and 1 with all its interval, and so reads as a percentage."""
    return not metric.unit and all(0 <= value <= 1 for value in (metric.value, *metric.ci95))


def value(metric: Metric) -> str:
    if math.isnan(metric.value):
        return "–"
    return f"{100 * metric.value:.1f} %" if is_share(metric) else f"{metric.value:.4g}"


def goal(metric: Metric) -> str:
    """What a metric was meant to reach, in its own unit; empty without a goal."""
    if metric.goal is None:
        return ""
    return f"{100 * metric.goal:g} %" if is_share(metric) else f"{metric.goal:g}"


def interval(metric: Metric) -> str:
    """The 95 % interval, empty where a metric is exact."""
    low, high = metric.ci95
    if low == high or math.isnan(metric.value):
        return ""
    return f"{100 * low:.1f} – {100 * high:.1f}" if is_share(metric) else f"{low:.4g} – {high:.4g}"
