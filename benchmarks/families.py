"""The miniatures of published systems side by side: what a picture costs, what is trained, and what is learned.

Run `python benchmarks/families.py --out runs/families [NAME ...]`; by default every miniature. Each is trained into
OUT/NAME beside its twin, which sees no picture, and both are examined, as `sensorium demo` does it; what is there
already is not done again. `--processes N` has N of them at once, for machines with a GPU, of which a miniature takes a
small part. Then a table is printed, in Markdown, of all that is in OUT; with `--json FILE` the same for
programs. Minutes and time per step are of the runs themselves: nothing else should use the cores. With `--only-table`
nothing is trained.

`--time` tells only how long training takes, in minutes instead of hours: 40 steps of each stage of each miniature are
run, and what a step takes there (the median of the last 30) is multiplied by the stage's steps.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

from rich.console import Console

from sensorium.checks.full_size import on_meta
from sensorium.config import load_yaml
from sensorium.pages.demo import EVALUATION, run_demo
from sensorium.recipe import Recipe, find_recipe, recipe_names
from sensorium.training.optimisation import set_trainable
from sensorium.training.trainer import train

TIMED, WARM = 40, 10
"""Steps of a stage by which it is timed, and the first of them, which do not count."""
KINDS = ("existence", "count", "colour", "shape", "size", "relation")


@dataclass(frozen=True)
class Row:
    """One miniature. Accuracies are of questions about unseen scenes; None where it answers none."""

    name: str
    features: int
    """what is read of a picture"""
    tokens: int
    """what of that stands in the text"""
    parameters: int
    trained: int
    """parameters that the last stage with steps trains"""
    milliseconds: float
    """a step of that stage, the median"""
    minutes: float
    """training from nothing, the twin's not counted: the steps of each stage times their median, so that a pause does
    not count"""
    accuracy: float | None
    ci95: tuple[float, float] | None
    blind: float | None
    by_kind: dict[str, float]
    recall: tuple[float, float] | None
    """at 1, of captions for pictures and of pictures for captions"""


def row(folder: Path) -> Row:
    recipe = load_yaml(folder / "recipe.yaml", Recipe)
    metrics = json.loads((folder / EVALUATION).read_text())["metrics"]
    steps = [line for line in map(json.loads, (folder / "log.jsonl").open()) if "loss" in line]
    stage = next(stage for stage in reversed(recipe.stages) if stage.steps)
    model = on_meta(recipe.model)
    trained = [model.get_parameter(name) for name, on in set_trainable(model, stage).items() if on]
    size = _picture_size(recipe)
    value = {name: metric["value"] for name, metric in metrics.items()}
    directions = ("picture-to-text/recall@1", "text-to-picture/recall@1")
    return Row(
        name=recipe.name,
        features=model.config.media_rule.features(model.layout.cut(size)),
        tokens=model.layout.tokens_for(size),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in trained),
        milliseconds=1000 * _seconds(steps, stage.name) / stage.steps,
        minutes=sum(_seconds(steps, each.name) for each in recipe.stages) / 60,
        accuracy=value.get("accuracy"),
        ci95=metrics["accuracy"]["ci95"] if "accuracy" in metrics else None,
        blind=value.get("blind/accuracy"),
        by_kind={kind: value[f"accuracy/{kind}"] for kind in KINDS if f"accuracy/{kind}" in value},
        recall=(value[directions[0]], value[directions[1]]) if directions[0] in value else None,
    )


def _seconds(steps: list[dict[str, Any]], stage: str) -> float:
    taken = [line["seconds"] for line in steps if line["stage"] == stage]
    return len(taken) * statistics.median(taken) if taken else 0.0


def _picture_size(recipe: Recipe) -> tuple[int, int]:
    """Width and height of the pictures that the recipe is examined on."""
    suite: Any = recipe.evaluation[0]
    world = suite.world if hasattr(suite, "world") else next(iter(suite.sets.values()))
    return world.size


def table(rows: list[Row]) -> str:
    """Markdown, a line for each row."""
    head = ("miniature", "features", "in the text", "parameters", "trained", "ms a step", "minutes", *KINDS, "all",
            "blind", "recall@1")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in rows:
        overall = f"**{one.accuracy:.3f}** ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})" if one.ci95 else ""
        cells = (
            f"`{one.name}`", one.features, one.tokens, f"{one.parameters / 1e3:,.0f} k", f"{one.trained / 1e3:,.0f} k",
            f"{one.milliseconds:.0f}", f"{one.minutes:.1f}",
            *(f"{one.by_kind[kind]:.2f}" if kind in one.by_kind else "" for kind in KINDS), overall,
            "" if one.blind is None else f"{one.blind:.3f}",
            f"{one.recall[0]:.2f} / {one.recall[1]:.2f}" if one.recall else "",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def timed(recipe: Recipe) -> str:
    """How long a recipe trains, from a few steps of each of its stages: a line of Markdown."""
    few = [stage.model_copy(update={"steps": min(stage.steps, TIMED)}) for stage in recipe.stages]
    with TemporaryDirectory() as folder:
        train(recipe.model_copy(update={"stages": tuple(few)}), Path(folder) / "run", quiet=True)
        steps = [line for line in map(json.loads, (Path(folder) / "run" / "log.jsonl").open()) if "loss" in line]
    each = {
        stage.name: statistics.median([line["seconds"] for line in steps if line["stage"] == stage.name][WARM:])
        for stage in recipe.stages
        if stage.steps
    }
    minutes = sum(stage.steps * each[stage.name] for stage in recipe.stages if stage.steps) / 60
    stages = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in each.items())
    return f"| `{recipe.name}` | {stages} | {minutes:.1f} |"


def learn(name: str, out: Path, quiet: bool) -> None:
    print(name, flush=True)
    run_demo(find_recipe(name), out / name, quiet=quiet, console=Console(file=io.StringIO()))


def learn_at_once(names: list[str], out: Path, processes: int) -> None:
    """Each in a process of its own, `processes` at a time; a `CalledProcessError` if one fails, after all are done."""
    alone = [sys.executable, __file__, "--out", str(out), "--quiet", "--no-table"]
    with ThreadPoolExecutor(processes) as pool:
        runs = [pool.submit(subprocess.run, [*alone, name], check=True) for name in names]
    for run in runs:
        run.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; by default every miniature")
    parser.add_argument("--out", type=Path, default=Path("runs/families"), metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table for programs")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many are trained at once")
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--time", action="store_true", help="only tell how long training takes")
    tables.add_argument("--only-table", action="store_true", help="train nothing")
    tables.add_argument("--no-table", action="store_true", help="print none")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    asked = parser.parse_args()
    names = asked.names or [name for name in recipe_names() if name.endswith("-mini")]
    if asked.time:
        print("| miniature | ms a step of each stage | minutes |\n|---|---|---|")
        for name in names:
            print(timed(find_recipe(name)), flush=True)
        return
    if asked.processes > 1 and not asked.only_table:
        learn_at_once(names, asked.out, asked.processes)
    elif not asked.only_table:
        for name in names:
            learn(name, asked.out, asked.quiet)
    if asked.no_table:
        return
    rows = [row(file.parent) for file in sorted(asked.out.glob(f"*/{EVALUATION}"))]
    print(table(rows))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
