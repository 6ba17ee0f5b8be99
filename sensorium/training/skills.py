"""Which source teaches what: the graph that the policy `skill-it` weighs sources by, learned by trying."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from sensorium.errors import ConfigError
from sensorium.model import compose
from sensorium.recipe import Recipe
from sensorium.training.checkpoint import load_model
from sensorium.training.stage_run import StageRun


def learn_graph(recipe: Recipe, number: int, steps: int, start: Path | None = None) -> dict[str, Any]:
    """The linear approximation of arXiv 2307.14430, section 3.1: train on each source alone, from the same model, and
    see how far the loss of each target falls. Edges are falls as a share of the greatest fall of that target, so that
    its best teacher has 1; a source that does not help has 0.

    Returns {"graph": `[sources, targets]`, "before": `[targets]`, "after": `[sources, targets]`}. A `ConfigError` if
    the stage has no policy with targets. Takes as many stages of `steps` as there are sources.
    """
    stage = recipe.stages[number]
    if stage.policy is None or not stage.policy.targets:
        raise ConfigError(f"stages.{number}.policy has no targets; name a held-out source for each ability")
    targets, rows = stage.policy.targets, stage.policy.rows
    before, after = [], []
    with tempfile.TemporaryDirectory() as folder:
        for share in stage.data:
            torch.manual_seed(recipe.seed)
            model = load_model(start) if start else compose(recipe.model)
            alone = stage.model_copy(update={"data": (share,), "steps": steps, "policy": None, "balance": "samples"})
            stages = (*recipe.stages[:number], alone, *recipe.stages[number + 1 :])
            run = StageRun(recipe.model_copy(update={"stages": stages}), number, model, Path(folder))
            before = before or run.target_losses(targets, rows)
            with run.running():
                for _ in range(steps):
                    run.one_step()
            after.append(run.target_losses(targets, rows))
    falls = [[max(0.0, was - now) for was, now in zip(before, row, strict=True)] for row in after]
    greatest = [max(column) or 1.0 for column in zip(*falls, strict=True)]
    graph = [[round(fall / most, 4) for fall, most in zip(row, greatest, strict=True)] for row in falls]
    return {"graph": graph, "before": before, "after": after}
