"""Where a training step's time goes: seconds, tokens a second, packing, data, and the share of each kind of operation.

Run `python benchmarks/step.py [RECIPE] [KEY=VALUE ...]`; with `--json FILE` the numbers are written too. Seconds are
measured without the profiler; shares in further steps under it, of their own time. It runs on the CPU. No peer is
compared with yet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

import torch
from torch.profiler import ProfilerActivity, profile

from sensorium.model import compose
from sensorium.recipe import find_recipe
from sensorium.training.stage_run import StageRun

GROUPS = {
    "attention": ("attention",),
    "convolutions": ("conv",),
    "optimiser and clipping": ("adam", "foreach", "linalg_vector_norm"),
    "loss": ("log_softmax", "nll_loss"),
    "normalisation": ("norm",),
    "matrix products": ("mm", "linear", "dot"),
    "copies and indexing": ("copy", "cat", "index", "gather", "scatter", "embedding", "fill", "zero", "clone", "stack"),
}
"""Words in the names of operators; the first group that has one takes the operator, the rest is elementwise."""
ELEMENTWISE, OUTSIDE = "elementwise and other", "outside operators (Python, pictures, profiler)"


def speed(run: StageRun, steps: int) -> dict[str, Any]:
    """Seconds a step and tokens a second over some steps, without the profiler."""
    records = [run.one_step() for _ in range(steps)]
    seconds = [record["seconds"] for record in records]
    padded = run.stage.tokens_per_step * steps
    real = sum(record["packing_efficiency"] for record in records) / steps
    return {
        "seconds_per_step": {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)},
        "tokens_per_second": real * padded / sum(seconds),
        "padded_tokens_per_second": padded / sum(seconds),
        "packing_efficiency": real,
        "data_share": sum(record["data_seconds"] for record in records) / sum(seconds),
    }


def shares(run: StageRun, steps: int) -> dict[str, float]:
    """The share of wall time spent in each group of operators, largest first, over some profiled steps."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        for _ in range(steps):
            run.one_step()
        wall = time.perf_counter() - began
    found = dict.fromkeys((*GROUPS, ELEMENTWISE), 0.0)
    for event in (event for event in profiler.key_averages() if event.key.startswith("aten::")):
        group = next((name for name, words in GROUPS.items() if any(w in event.key for w in words)), ELEMENTWISE)
        found[group] += event.self_cpu_time_total / 1e6 / wall
    found[OUTSIDE] = max(0.0, 1 - sum(found.values()))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="demo")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--stage", type=int, default=-1, help="by default the last")
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed, after a third as many")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    recipe = find_recipe(options.recipe, *options.overrides)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(recipe.seed)
        number = options.stage % len(recipe.stages)
        run = StageRun(recipe, number, compose(recipe.model), Path(folder))
        with run.running():
            speed(run, max(3, options.steps // 3))
            found: dict[str, Any] = {"benchmark": "step", "recipe": recipe.name, "stage": run.stage.name}
            found |= {"precision": str(run.dtype), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
            found |= {"lanes": run.stage.lanes} | speed(run, options.steps)
            run.lanes = None  # the profiler sees one thread: shares are of a core's time
            found["shares"] = shares(run, max(3, options.steps // 3))
    for name, value in found.items():
        for part, entry in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{name} {part}".ljust(58), f"{entry:,.4f}" if isinstance(entry, float) else entry)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
