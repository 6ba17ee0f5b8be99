"""Examinations with a progress bar, and their result on the screen and in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sensorium.config import PartConfig, find_part, load_yaml, part_names
from sensorium.errors import ConfigError
from sensorium.evaluation.results import BLIND, evaluation, merge, write_evaluation
from sensorium.evaluation.suite import Report, Suite
from sensorium.model import Model
from sensorium.pages.report import write_report
from sensorium.pages.run import read_run
from sensorium.pages.terminal import metrics_table
from sensorium.recipe import Recipe
from sensorium.training.checkpoint import load_model
from sensorium.training.trainer import RECIPE


def examine(model: Model, suites: Sequence[Suite.Config], *, blind: bool = False, quiet: bool = False) -> list[Report]:
    """Run suites on a model, and note their goals with their metrics; `blind` withholds the pictures."""
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet, console=Console(stderr=True)) as bars:
        reports = [
            config.build().run(model, blind=blind, progress=_Told(bars, config.type_name + " (blind)" * blind))
            for config in suites
        ]
    prefix = BLIND if blind else ""
    return [
        replace(report, metrics={n: replace(m, goal=config.goals.get(prefix + n)) for n, m in report.metrics.items()})
        for report, config in zip(reports, suites, strict=True)
    ]


class _Told:
    """A bar for each label that a suite reports."""

    def __init__(self, bars: Progress, suite: str) -> None:
        self.bars, self.suite = bars, suite
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(f"{self.suite} {label}", total=total)
        self.bars.update(self.tasks[label], completed=done, total=total)


def evaluate_checkpoint(
    checkpoint: Path,
    suite: str,
    overrides: Sequence[str],
    file: Path | None,
    page: Path | None,
    twin: Path | None,
    quiet: bool,
) -> None:
    """Load a model, run a suite, print the metrics, and write them as JSON to `file` (`-` is stdout, then without the
    table) and with pictures to `page`. A text-only `twin` is examined without pictures, and so is a model of a run
    whose recipe is blind: it has not learned what to make of them."""
    if page is not None:
        read_run(checkpoint)  # what is no run has no page, which is better known before the examination
    configs = suite_configs(suite, checkpoint, overrides)
    recipe = recipe_of(checkpoint)
    reports = examine(load_model(checkpoint), configs, blind=recipe is not None and recipe.blind, quiet=quiet)
    blind = examine(load_model(twin), configs, blind=True, quiet=quiet) if twin else []
    if page is not None:
        write_report(checkpoint, reports, page, blind=blind)
    if file == Path("-"):
        print(json.dumps(evaluation(reports, blind, checkpoint), indent=2, ensure_ascii=False))
        return
    Console().print(metrics_table(merge(reports, blind)))
    if file is not None:
        print(write_evaluation(file, reports, blind, checkpoint))
    if page is not None:
        print(page)


def suite_configs(name: str, checkpoint: Path, overrides: Sequence[str] = ()) -> list[Suite.Config]:
    """The suite as the recipe of the checkpoint's run configures it, else from its defaults, with overrides. A
    `ConfigError` says what has to be given where the recipe does not say it."""
    kind: Any = find_part("suite", name)
    recipe = recipe_of(checkpoint)
    if recipe and (found := [config for config in recipe.evaluation if config.type_name == name]):
        return [config.override(*overrides) for config in found]
    given = {assignment.partition("=")[0].partition(".")[0] for assignment in overrides}
    if lacking := [key for key, field in kind.model_fields.items() if field.is_required() and key not in given]:
        raise ConfigError(f"suite '{name}' is not in the recipe of {checkpoint}, so give {_wanted(kind, lacking)}")
    return [kind.from_assignments(*overrides)]


def recipe_of(checkpoint: Path) -> Recipe | None:
    """The recipe of the run that a checkpoint lies in, if it lies in one."""
    folders = (checkpoint, *checkpoint.absolute().parents[:2])  # a run, its model/, its checkpoints/step-N/
    file = next((folder / RECIPE for folder in folders if (folder / RECIPE).is_file()), None)
    return load_yaml(file, Recipe) if file else None


def _wanted(kind: type[PartConfig], keys: Sequence[str]) -> str:
    """What to type for the keys of a config that have no default."""
    wanted = []
    for key in keys:
        field = kind.model_fields[key]
        part, value = field.annotation, "VALUE"
        if isinstance(part, type) and issubclass(part, PartConfig):
            value = f"NAME, one of {', '.join(part_names(part.family))}, and its {key}.KEY=VALUE"
        wanted.append(f"{key}={value}" + (f" ({field.description})" if field.description else ""))
    return "; ".join(wanted)
