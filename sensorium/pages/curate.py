"""Curation on the command line: scoring with a bar, selecting, and a page of scores with the samples behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sensorium.config import find_part
from sensorium.curation.choose import choose, ranked
from sensorium.curation.columns import read_table, stored
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.step import Scorer, Selector
from sensorium.curation.table import Column, Table
from sensorium.data.images import open_picture
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.pages import charts, formats
from sensorium.pages.html import Html, image, page, section, table, tag, write_page
from sensorium.sample import Sample, Text

SHOWN = 6


def score_pool(
    where: str, stage: int, scorer: str, overrides: Sequence[str], out: Path, ray: int, max_bad: int | None, quiet: bool
) -> None:
    """Score the sources that `where` names into `out`, and say what was refused."""
    pool = Pool.find(where, stage)
    config = find_part("scorer", scorer).from_assignments(*overrides)
    assert isinstance(config, Scorer.Config)
    pool.claim(out)
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet, console=Console(stderr=True)) as bars:
        task = bars.add_task(scorer, total=None)

        def told(label: str, done: int, total: int) -> None:
            bars.update(task, description=label, completed=done, total=total)

        written = score(pool.sources, config, out, ray=ray, max_bad=max_bad, progress=told)
    for one in written:
        refused = sum(1 for _ in one.refusals())
        note = f"; {refused} could not be scored, see quarantine.jsonl" if refused else ""
        print(f"{one.folder}: {one.about.length} samples{note}")


def select_from(
    scores: Path,
    selector: str,
    overrides: Sequence[str],
    out: Path,
    share: float | None,
    count: int | None,
    texts: Sequence[str],
) -> None:
    """Select from the scores of a pool into `out`, and say how to train on it."""
    config = find_part("selector", selector).from_assignments(*overrides)
    assert isinstance(config, Selector.Config)
    selections, total = choose(scores, config, out, share=share, count=count, texts=texts)
    kept = sum(len(selection.indices) for selection in selections)
    if len(texts) > 1:
        print(
            "samples say what they said; name their new texts in caption-mix or triples: {" + "}, {".join(texts) + "}"
        )
    print(f"{kept} of {total} samples ({100 * kept / total:.1f} %); the data of a stage: {out / 'data.yaml'}")


def write_scores(scores: Path, file: Path) -> Path:
    """Write a page with the distribution of every number, the best, middle and worst samples, and texts."""
    pool = Pool.at(scores)
    columns = read_table(scores, pool.sources)
    samples = _Samples([source.build() for source in pool.sources])
    numbers = [name for name, column in columns.columns.items() if column.values.dtype.kind == "f"]
    numbers = [name for name in numbers if columns[name].values.ndim == 1]
    texts = [name for name, column in columns.columns.items() if column.values.dtype.kind == "O"]
    sections = [_section(name, columns[name], samples) for name in numbers]
    sections += [_written(name, columns[name], samples) for name in texts]
    return write_page(file, page("Scores", _head(scores, pool, columns), *sections, _refused(scores, pool)))


class _Samples:
    """The samples of several sources, one behind the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.ends = np.cumsum([len(source) for source in sources])

    def __getitem__(self, index: int) -> Sample:
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self.sources[number][index - int(self.ends[number]) + len(self.sources[number])]


def _head(scores: Path, pool: Pool, columns: Table) -> Html:
    facts = {
        "samples": f"{len(columns):,}",
        "sources": ", ".join(source.type_name for source in pool.sources),
        "columns": ", ".join(columns.columns) or "none",
    }
    items = [tag("li", tag("span", what), " ", tag("b", value)) for what, value in facts.items()]
    brand = tag("div", "Sensorium curation", class_="brand")
    return tag("header", brand, tag("h1", f"Scores in {scores.name}"), tag("ul", *items, class_="facts"))


def _section(name: str, column: Column, samples: _Samples) -> Html:
    order = ranked(column.values, column.known)
    if not len(order):
        return section(name, tag("p", "No sample has a value.", class_="banner"))
    shown = min(SHOWN, len(order))
    middle = (len(order) - shown) // 2
    parts = {"Highest": order[:shown], "Middle": order[middle : middle + shown], "Lowest": order[::-1][:shown]}
    galleries = [
        (tag("h3", title), tag("div", *(_card(samples, int(i), column) for i in chosen), class_="gallery"))
        for title, chosen in parts.items()
    ]
    values = column.values[order]
    quartiles = np.percentile(values, [0, 25, 50, 75, 100])
    note = "Least, quartiles and greatest: " + ", ".join(f"{value:.4g}" for value in quartiles)
    chart = charts.distribution(values.tolist(), f"{formats.amount(len(order))} samples")
    return section(name, tag("div", chart, class_="charts"), *galleries, note=note)


def _written(name: str, column: Column, samples: _Samples) -> Html:
    """Some samples, spread over all, with a text that was written about them."""
    there = np.flatnonzero(column.values != "")
    chosen = there[np.linspace(0, len(there) - 1, min(SHOWN, len(there))).astype(int)] if len(there) else there
    cards = tag("div", *(_card(samples, int(index), column) for index in chosen), class_="gallery")
    return section(name, cards, note=f"{len(there)} of {len(column)} samples have a text.")


def _card(samples: _Samples, index: int, column: Column) -> Html:
    value = tag("b", f"{column.values[index]:.4g}" if column.values.dtype.kind == "f" else column.values[index])
    try:
        sample = samples[index]
        pictures = [image(open_picture(p.source, p.id or sample.name), alt=sample.name) for p in sample.images[:1]]
    except DataError as error:
        return tag("div", tag("p", str(error), class_="banner"), value, class_="card")
    lines = [tag("li", segment.text) for segment in sample.segments if isinstance(segment, Text)]
    footer = tag("li", value, tag("span", sample.name, class_="aside id", title=sample.name))
    return tag("div", *pictures, tag("ul", *lines, footer), class_="card")


def _refused(scores: Path, pool: Pool, most: int = 100) -> Html:
    rows = [
        (one.about.name, index, reason)
        for source in pool.sources
        for one in stored(scores, source)
        for index, reason in one.refusals()
    ]
    if not rows:
        return section("Refused", tag("p", "Every sample could be scored.", class_="note"))
    return section("Refused", table(("scorer", "sample", "reason"), rows[:most]), note=f"{len(rows)} in all")
