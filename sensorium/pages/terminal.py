"""Results in a terminal: a table of metrics, and pictures drawn with half blocks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.style import Style
from rich.table import Table
from rich.text import Text

from sensorium.data.images import open_picture
from sensorium.errors import DataError
from sensorium.evaluation.results import BLIND
from sensorium.evaluation.suite import Case, Metric, Report
from sensorium.pages import formats
from sensorium.pages.results import gallery, graded, guessing, own, tally, verdict

if TYPE_CHECKING:
    import PIL.Image

COLUMNS = 32
"""Width of a drawn picture in characters."""


def half_blocks(picture: PIL.Image.Image, columns: int = COLUMNS) -> Text:
    """A picture as coloured half blocks, two pixels above each other in one character."""
    from PIL import Image

    rows = max(1, round(columns * picture.height / picture.width / 2))
    small = picture.convert("RGB").resize((columns, 2 * rows), Image.Resampling.BOX)
    drawn = Text(no_wrap=True)
    pixels = small.load()
    assert pixels is not None
    for row in range(rows):
        for column in range(columns):
            upper, lower = pixels[column, 2 * row], pixels[column, 2 * row + 1]
            drawn.append("▀", Style.parse(f"rgb{_rgb(upper)} on rgb{_rgb(lower)}"))
        drawn.append("\n" if row < rows - 1 else "")
    return drawn


def _rgb(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return f"({','.join(str(level) for level in pixel)})"


def metrics_table(metrics: Mapping[str, Metric]) -> Table:
    """The model's metrics, beside them their goals, and what its text-only twin and guessing reach, where that is
    known. Below, how many goals were missed."""
    mine = own(metrics)
    goal = any(verdict(name, metric) for name, metric in mine.items())
    twin = any(BLIND + name in metrics for name in mine)
    chance = any(guessing(name, metrics) for name in mine)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("metric")
    for title in ("model", "95 %", *["goal"] * goal, *["text-only twin"] * twin, *["guessing"] * chance, "n"):
        shown.add_column(title, justify="right")
    for place, (name, metric) in enumerate(mine.items()):
        blind, guessed = metrics.get(BLIND + name), guessing(name, metrics)
        cells = [Text(formats.value(metric)), Text(formats.interval(metric), "dim"), *[_goal(name, metric)] * goal]
        cells += [Text(formats.value(blind)) + _goal(BLIND + name, blind, " ≤ ") if blind else Text()] * twin
        cells += [Text(formats.value(guessed) if guessed else "")] * chance
        shown.add_row(escape(name), *cells, f"{metric.n:,}", style="bold" if place == 0 else "")
    missed, goals = tally(metrics)
    if goals:
        shown.caption, shown.caption_justify = f"{missed} of {goals} goals missed", "left"
    return shown


def _goal(name: str, metric: Metric, sign: str = "") -> Text:
    """A metric's goal, with a tick or a cross."""
    found = verdict(name, metric)
    text = f"{sign}{formats.goal(metric)} {'✗' if found == 'missed' else '✓'}" if found else ""
    return Text(text, "bold red" if found == "missed" else "green")


def show_examples(reports: Sequence[Report], console: Console, questions: int = 2) -> None:
    """A few pictures side by side, each with a caption or questions, answers and the truth; without colours only the
    words."""
    width = console.width if console.is_terminal else shutil.get_terminal_size((100, 24)).columns
    count = max(1, min(3, width // (COLUMNS + 3)))
    grid = Table.grid(padding=(0, 3, 0, 0))
    columns = [_example(cases, console, questions) for cases in gallery(reports, count).values()]
    if columns:
        for _ in columns:
            grid.add_column(width=COLUMNS)
        grid.add_row(*columns)
        console.print(grid)


def _example(cases: list[Case], console: Console, questions: int) -> RenderableType:
    asked = [case for case in cases if graded(case)][:questions] + [case for case in cases if not graded(case)][:1]
    parts: list[RenderableType] = []
    if console.color_system is not None:
        try:
            parts.append(half_blocks(open_picture(cases[0].sample.images[0].source, cases[0].sample.name)))
        except DataError as error:
            parts.append(Text(str(error), "red"))
    parts += [answer_line(case) for case in asked]
    return Group(*parts)


def answer_line(case: Case) -> Text:
    """Question and answer, with a tick or a cross and the truth."""
    line = Text(case.question + "\n" if case.question else "", "dim")
    if not graded(case):
        return line.append(case.answer or "(nothing)", "not dim")
    said = case.answer or "(nothing)"
    if case.correct:
        return line.append(f"✓ {said}", "not dim bold green")
    return line.append(f"✗ {said}", "not dim bold red").append(f"  truth: {case.expected}", "not dim")
