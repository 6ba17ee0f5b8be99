"""Scoring: chunk by chunk, here or on Ray, by the same function and with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sensorium.atomic import write_folder
from sensorium.curation.columns import Columns
from sensorium.curation.on_ray import Workers
from sensorium.curation.step import Scorer, Value
from sensorium.data.quarantine import too_many
from sensorium.data.source import Source
from sensorium.errors import DataError

CHUNK = 1024
"""Samples in a file of columns."""

Progress = Callable[[str, int, int], None]
"""`progress(label, done, total)`, in samples."""


class Work:
    """Scores chunks of a source. It holds configs alone until it is called, so that it can go to another process."""

    def __init__(self, source: Source.Config, scorer: Scorer.Config, folder: Path, fitted: Path) -> None:
        self.configs, self.folder, self.fitted = (source, scorer), folder, fitted

    @cached_property
    def source(self) -> Source:
        return self.configs[0].build()

    @cached_property
    def scorer(self) -> Scorer:
        return self.configs[1].build(fitted=self.fitted)

    @cached_property
    def columns(self) -> Columns:
        return Columns.at(self.folder)

    def __call__(self, start: int) -> tuple[int, list[str]]:
        """Score and write the chunk that begins at `start`; returns its length and why samples were refused."""
        about = self.columns.about
        rows = self.rows(range(start, min(start + about.chunk, about.length)))
        self.columns.write(start, rows)
        return len(rows), [row for row in rows if isinstance(row, str)]

    def rows(self, indices: range) -> list[tuple[Value, ...] | str]:
        """A row of values for each sample, or why it has none."""
        rows: list[tuple[Value, ...] | str] = [""] * len(indices)
        waiting: list[tuple[int, Any]] = []
        for place, index in enumerate(indices):
            try:
                waiting.append((place, self.scorer.read(self.source[index])))
            except DataError as error:
                rows[place] = str(error)
            if len(waiting) == self.scorer.config.batch or index == indices[-1]:
                for (at, _), row in zip(waiting, self._score([item for _, item in waiting]), strict=True):
                    rows[at] = row
                waiting = []
        return rows

    def _score(self, items: list[Any]) -> list[tuple[Value, ...]]:
        return self.scorer.score(items) if items else []


def score(
    sources: Sequence[Source.Config],
    scorer: Scorer.Config,
    out: Path,
    *,
    chunk: int = CHUNK,
    ray: int = 0,
    max_bad: int | None = None,
    progress: Progress | None = None,
) -> list[Columns]:
    """Write a scorer's columns for each source into `out`, going on where an earlier attempt ended.

    `ray` is how many workers of Ray Data score chunks; by default none, and they are scored here. They write the
    files, so `out` and the data must be at the same place for all. A sample that cannot be scored has nulls and a
    line in `quarantine.jsonl`; beyond `max_bad` of them a `DataError` ends the run.
    """
    written = []
    with Workers(ray) if ray else nullcontext(map) as run:
        for number, source in enumerate(sources):
            columns = Columns.of(out, source, scorer, chunk)
            if missing := columns.missing():
                work = Work(source, scorer, columns.folder, fitted(scorer, out))
                label = f"{scorer.name} {number + 1}/{len(sources)}"
                _follow(columns, missing, run(work, missing), max_bad, progress and partial(progress, label))
            written.append(columns)
    return written


def fitted(scorer: Scorer.Config, out: Path) -> Path:
    """The folder of what a scorer has learned, which it does now if it has not."""
    folder = out / "fitted" / f"{scorer.name}-{scorer.digest[:16]}"
    if scorer.part.learns and not folder.is_dir():
        write_folder(folder, partial(scorer.part.fit, scorer))
    return folder


def _follow(
    columns: Columns,
    missing: list[int],
    results: Iterable[tuple[int, list[str]]],
    max_bad: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run through the results as they come, count refusals, and write them down however it ends."""
    length = columns.about.length
    done = length - sum(min(columns.about.chunk, length - start) for start in missing)
    refused = 0
    try:
        for samples, reasons in results:
            done, refused = done + samples, refused + len(reasons)
            if progress:
                progress(done, length)
            if max_bad is not None and refused > max_bad:
                raise too_many(refused, max_bad, reasons[-1])
    finally:
        columns.write_quarantine()
