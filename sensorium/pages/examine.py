"""Examinations with a progress bar, and their result on the screen and in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sensorium.config import PartConfig, find_part, load_yaml
from sensorium.evaluation.suite import Report
from sensorium.model import Model
from sensorium.pages.results import evaluation, merge, write_evaluation
from sensorium.pages.terminal import metrics_table
from sensorium.recipe import Recipe
from sensorium.training.checkpoint import load_model
from sensorium.training.trainer import RECIPE


def examine(model: Model, suites: Sequence[PartConfig], *, blind: bool = False, quiet: bool = False) -> list[Report]:
    """Run suites on a model; `blind` withholds the pictures."""
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet, console=Console(stderr=True)) as bars:
        return [
            config.build().run(model, blind=blind, progress=_Told(bars, config.type_name + " (blind)" * blind))
            for config in suites
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
    checkpoint: Path, suite: str, overrides: Sequence[str], file: Path | None, twin: Path | None, quiet: bool
) -> None:
    """Load a model, run a suite, print the metrics, and write them as JSON to `file` (`-` is stdout, then without the
    table). A text-only `twin` is examined without pictures."""
    configs = [config.override(*overrides) for config in suite_configs(suite, checkpoint)]
    reports = examine(load_model(checkpoint), configs, quiet=quiet)
    blind = examine(load_model(twin), configs, blind=True, quiet=quiet) if twin else []
    if file == Path("-"):
        print(json.dumps(evaluation(reports, blind, checkpoint), indent=2, ensure_ascii=False))
        return
    Console().print(metrics_table(merge(reports, blind)))
    if file is not None:
        print(write_evaluation(file, reports, blind, checkpoint))


def suite_configs(name: str, checkpoint: Path) -> list[PartConfig]:
    """The suite as the recipe of the checkpoint's run configures it, else with its defaults."""
    kind = find_part("suite", name)
    for folder in (checkpoint, *checkpoint.absolute().parents[:2]):  # a run, its model/, its checkpoints/step-N/
        if (folder / RECIPE).is_file():
            configured = load_yaml(folder / RECIPE, Recipe).evaluation
            if found := [config for config in configured if config.type_name == name]:
                return list(found)
            break
    return [kind.from_dict({}, where=f"suite '{name}', which this run's recipe does not configure")]
