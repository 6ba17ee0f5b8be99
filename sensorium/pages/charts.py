"""Small charts: metric bars in CSS, curves and histograms as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from sensorium.evaluation.suite import Metric
from sensorium.pages import formats
from sensorium.pages.html import Child, Html, tag

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 190, 38, 22, 16


def meter(metric: Metric, *, twin: float | None = None, chance: float | None = None) -> Html:
    """A bar from 0 to 100 % with the interval; a ring for the text-only twin, dots for guessing, a tick for the goal.
    Empty where the metric is no share."""
    if not formats.is_share(metric):
        return tag("div", class_="meter none")
    low, high = metric.ci95
    parts = [_bit("fill", width=metric.value), _bit("ci", left=low, width=high - low), _bit("dot", left=metric.value)]
    marks = (("chance", chance), ("twin", twin), ("goal", metric.goal))
    parts += [_bit(kind, left=at) for kind, at in marks if at is not None]
    label = f"{formats.value(metric)}, 95 % interval {formats.interval(metric)}"
    return tag("div", *parts, class_="meter", role="img", aria_label=label, title=label)


def _bit(kind: str, **at: float) -> Html:
    return tag("i", class_=kind, style=";".join(f"{key}:{100 * share:.2f}%" for key, share in at.items()))


def meter_row(name: Child, metric: Metric, **marks: float | None) -> Html:
    """A line of a list of metrics: its name, its bar, its figures."""
    figures = tag("div", tag("b", formats.value(metric)), tag("span", formats.interval(metric)), class_="figures")
    return tag(
        "div",
        tag("div", name, class_="name"),
        meter(metric, **marks),
        figures,
        class_="metric",
        title=f"n = {metric.n}",
    )


def legend(*, twin: bool = False, chance: bool = False, goal: bool = False) -> Html:
    """What the marks of `meter` mean."""
    entries = [("dot", "value, shaded 95 % interval")]
    entries += [("goal", "goal")] * goal + [("twin", "text-only twin")] * twin + [("chance", "guessing")] * chance
    spans = [
        tag("span", tag("span", tag("i", class_=kind, style="left:50%"), class_="meter"), text)
        for kind, text in entries
    ]
    return tag("div", *spans, class_="legend")


def curves(
    title: str, lines: Mapping[str, Points], *, breaks: Mapping[float, str] | None = None, log: bool = False
) -> Html:
    """A chart of lines over steps; `breaks` are labelled vertical lines, where stages begin."""
    lines = {name: [point for point in points if math.isfinite(point[1])] for name, points in lines.items()}
    everything = [point for points in lines.values() for point in points]
    if not everything:
        return Html()
    x_max = max(x for x, _ in everything) or 1
    low, high = min(y for _, y in everything), max(y for _, y in everything)
    log = log and low > 0
    ticks = _log_ticks(low, high) if log else _ticks(0 if low < 0.6 * high else low, high)
    bottom, top = (min(low, ticks[0]), max(high, ticks[-1]))

    def place(x: float, y: float) -> tuple[float, float]:
        scale = math.log if log else float
        share = (scale(y) - scale(bottom)) / ((scale(top) - scale(bottom)) or 1)
        return LEFT + (WIDTH - LEFT) * x / x_max, TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    drawn = [*_grid(ticks, place), *_breaks(breaks or {}, place, bottom), *_steps(x_max)]
    for number, points in enumerate(lines.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in thinned(points)))
        style = f"stroke:var(--{'accent' if number == 0 else 'twin'})"
        drawn.append(tag("polyline", points=path, class_="line", style=style))
    svg = tag("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("div", tag("h3", title), svg, _names(lines), class_="chart card")


def intervals(
    title: str, rows: Mapping[str, Metric], points: Mapping[str, Sequence[float]] | None = None, zero: bool = False
) -> Html:
    """A line for each of some means with its 95 % interval, all on one scale; `points` are what it is a mean of, and
    `zero` draws where no difference lies."""
    ends = [end for metric in rows.values() for end in metric.ci95] + [0.0] * zero
    ends += [value for values in (points or {}).values() for value in values]
    same = 0.5 * (min(ends) == max(ends))
    ticks = _ticks(min(ends) - same, max(ends) + same)
    left, width, room = 190, 620, 22

    def place(value: float) -> str:
        return f"{left + (width - left) * (value - ticks[0]) / (ticks[-1] - ticks[0]):.1f}"

    bottom = TOP + room * len(rows)
    drawn = []
    for tick in ticks:
        class_ = "axis" if zero and tick == 0 else "grid"
        drawn.append(tag("line", x1=place(tick), x2=place(tick), y1=TOP, y2=bottom, class_=class_))
        drawn.append(tag("text", formats.tick(tick), x=place(tick), y=bottom + 14, text_anchor="middle"))
    for number, (name, metric) in enumerate(rows.items()):
        y, (low, high) = TOP + room * (number + 0.5), metric.ci95
        hint = tag("title", f"{name}: {metric.value:.4g}, 95 % interval {low:.4g} to {high:.4g}")
        drawn.append(tag("text", name, x=left - 8, y=y + 3.5, text_anchor="end"))
        drawn.append(tag("line", hint, x1=place(low), x2=place(high), y1=y, y2=y, style="stroke:var(--accent)"))
        drawn += [
            tag("circle", cx=place(v), cy=y, r=2, style="fill:var(--muted)") for v in (points or {}).get(name, ())
        ]
        drawn.append(tag("circle", hint, cx=place(metric.value), cy=y, r=4, style="fill:var(--accent)"))
    svg = tag("svg", *drawn, viewBox=f"0 0 {width + 10} {bottom + 20}", role="img", aria_label=title)
    return tag("div", tag("h3", title), svg, class_="chart card")


def _names(lines: Mapping[str, Points]) -> Html:
    if len(lines) < 2:
        return Html()
    colours = ("accent", "twin")
    spans = [
        tag("span", tag("i", class_="swatch", style=f"background:var(--{colour})"), name)
        for name, colour in zip(lines, colours, strict=False)
    ]
    return tag("div", *spans, class_="legend")


def _grid(ticks: Sequence[float], place) -> list[Html]:
    marks = []
    for tick in ticks:
        y = place(0, tick)[1]
        marks.append(tag("line", x1=LEFT, x2=WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        marks.append(tag("text", formats.tick(tick), x=LEFT - 6, y=f"{y + 3.5:.1f}", text_anchor="end"))
    return marks


def _steps(x_max: float) -> list[Html]:
    end = tag("text", f"step {x_max:,.0f}", x=WIDTH, y=HEIGHT - 6, text_anchor="end")
    return [end, tag("text", "0", x=LEFT, y=HEIGHT - 6)]


def _breaks(breaks: Mapping[float, str], place, bottom: float) -> list[Html]:
    marks = []
    for at, name in breaks.items():
        x = place(at, bottom)[0]
        if at:
            marks.append(
                tag(
                    "line",
                    x1=f"{x:.1f}",
                    x2=f"{x:.1f}",
                    y1=TOP - 4,
                    y2=HEIGHT - BOTTOM,
                    class_="axis",
                    stroke_dasharray="2 3",
                )
            )
        marks.append(tag("text", name, x=f"{x:.1f}", y=TOP - 5))
    return marks


def thinned(points: Points, most: int = 240) -> list[tuple[float, float]]:
    """At most `most` points: the means of runs of neighbours, the last point kept at its place."""
    if len(points) <= most:
        return list(points)
    edges = [i * len(points) // most for i in range(most + 1)]
    runs = [points[a:b] for a, b in pairwise(edges)]
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values that cover the range."""
    span = (high - low) or abs(high) or 1
    step = 10 ** math.floor(math.log10(span / 3))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    values = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
    return inside if len(inside) >= 2 else _ticks(low, high)


def histogram(counts: Sequence[int], edges: Sequence[int], title: str) -> Html:
    """Bars of how many tokens fall between neighbouring edges."""
    hints = [
        f"{first} to {beyond - 1} tokens: {count} samples"
        for (first, beyond), count in zip(pairwise(edges), counts, strict=True)
    ]
    return _bars(counts, hints, (str(edges[0]), f"{edges[-1]} tokens"), title)


def distribution(values: Sequence[float], title: str, bars: int = 24) -> Html:
    """Bars of how many values fall into equal parts of their range."""
    low, high = min(values), max(values)
    width = (high - low) / bars or 1.0
    counts = [0] * bars
    for value in values:
        counts[min(bars - 1, int((value - low) / width))] += 1
    edges = [formats.tick(float(f"{low + place * width:.3g}")) for place in range(bars + 1)]
    hints = [f"{a} to {b}: {count} samples" for (a, b), count in zip(pairwise(edges), counts, strict=True)]
    return _bars(counts, hints, (edges[0], edges[-1]), title)


def _bars(counts: Sequence[int], hints: Sequence[str], ends: tuple[str, str], title: str) -> Html:
    most, room = max(counts, default=0) or 1, (WIDTH - LEFT) / max(1, len(counts))
    drawn = []
    for place, (count, text) in enumerate(zip(counts, hints, strict=True)):
        height = (HEIGHT - TOP - BOTTOM) * count / most
        y = HEIGHT - BOTTOM - height
        hint = tag("title", text)
        bar = {"x": f"{LEFT + place * room + 0.75:.1f}", "y": f"{y:.1f}", "width": f"{room - 1.5:.1f}"}
        drawn.append(tag("rect", hint, **bar, height=f"{height:.1f}", style="fill:var(--accent)", rx=2))
    labels = [
        tag("text", ends[0], x=LEFT, y=HEIGHT - 6),
        tag("text", ends[1], x=WIDTH, y=HEIGHT - 6, text_anchor="end"),
        tag("text", most, x=LEFT - 6, y=TOP + 3, text_anchor="end"),
        tag("line", x1=LEFT, x2=WIDTH, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"),
    ]
    svg = tag("svg", *drawn, *labels, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("div", tag("h3", title), svg, class_="chart card")
