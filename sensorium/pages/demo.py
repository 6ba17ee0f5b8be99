"""The demo from beginning to end: a model, its text-only twin, both examined, and the result to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from sensorium.evaluation.results import evaluation, merge, write_evaluation
from sensorium.evaluation.suite import Report
from sensorium.pages.examine import examine
from sensorium.pages.report import write_report
from sensorium.pages.terminal import metrics_table, show_examples
from sensorium.recipe import Recipe
from sensorium.training.trainer import train

EVALUATION, REPORT, TWIN = "eval.json", "report.html", "blind"


def run_demo(recipe: Recipe, out: str | Path, *, quiet: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Train a recipe into `out` and its text-only twin into `out/blind`, examine both with the recipe's suites, write
    `eval.json` and `report.html`, and print the same. Returns the contents of `eval.json`.

    Run again on the same folder, it goes on where it stopped; what is finished is not trained again.
    """
    out, console = Path(out), console or Console()
    reports = _train_and_examine(recipe, out, quiet)
    blind = _train_and_examine(recipe.override("blind=true"), out / TWIN, quiet)
    write_evaluation(out / EVALUATION, reports, blind, out)
    write_report(out, reports, out / REPORT, blind=blind)
    console.print()
    show_examples(reports, console)
    console.print()
    console.print(metrics_table(merge(reports, blind)))
    console.print()
    console.print(_closing(recipe, out), soft_wrap=True, highlight=False, markup=False)
    return evaluation(reports, blind, out)


def _train_and_examine(recipe: Recipe, out: Path, quiet: bool) -> list[Report]:
    model = train(recipe, out, resume=True, quiet=quiet)
    return examine(model, recipe.evaluation, blind=recipe.blind, quiet=quiet)


def _closing(recipe: Recipe, out: Path) -> str:
    return (
        f"page       {out / REPORT}\n"
        f"numbers    {out / EVALUATION}\n"
        f'talk       sensorium chat {out} --image PICTURE --ask "What can you see?"\n'
        f"change     sensorium train {recipe.name} model.connector=linear --out runs/linear"
    )
