"""The training loop: stages in order, one global division, exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from sensorium.atomic import partial_of, write_file
from sensorium.config import load_yaml
from sensorium.errors import CheckpointError
from sensorium.model import Model, compose
from sensorium.recipe import Recipe
from sensorium.training import checkpoint
from sensorium.training.manifest import made_from
from sensorium.training.progress import Log
from sensorium.training.stage_run import QUARANTINE, StageRun

RECIPE = "recipe.yaml"


def train(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    quiet: bool = False,
    stop_after: int | None = None,
    device: str | None = None,
    workers: int = 0,
) -> Model:
    """Train a recipe into the folder `out` and return the model; `resume` goes on where the last checkpoint stands.

    `stop_after` ends the run after so many steps in all, as a kill would: what tests and impatient people use.
    `device` is by default the GPU, if there is one. `workers` processes read the data ahead; they change nothing else.
    """
    out = Path(out)
    latest = open_run(recipe, out, resume)
    if resume and (out / "model").is_dir():
        return checkpoint.load_model(out / "model")
    data = made_of(recipe)  # before the first step: missing folders of later stages are found now
    torch.manual_seed(recipe.seed)
    model = checkpoint.load_model(latest) if latest else begin(recipe)
    state = json.loads((latest / checkpoint.STATE).read_text()) if latest else {"stage": 0, "step": 0, "total_step": 0}
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if not latest:
        (out / QUARANTINE).unlink(missing_ok=True)
    with Log(out, recipe.name + (" (blind)" if recipe.blind else ""), quiet, state["total_step"]) as log:
        for number in range(state["stage"], len(recipe.stages)):
            if (before := recipe.stages[number].starts_from) and not latest:
                model = checkpoint.load_model(checkpoint.stage_folder(out, before)).to(model.device)
            run = StageRun(recipe, number, model, out, data, workers)
            if latest:
                run.restore(state, latest)
                latest = None
            if not run.go(log, state, stop_after):
                return model
            if recipe.is_needed(number):
                checkpoint.save_model(model, checkpoint.stage_folder(out, recipe.stages[number].name), data)
            state = {"stage": number + 1, "step": 0, "total_step": state["total_step"]}
    checkpoint.save_model(model, out / "model", data)
    return model.eval()


def made_of(recipe: Recipe) -> dict[str, Any]:
    """What a run's manifests say of what it is made from: its data, and the weights it starts with."""
    found = made_from(recipe)
    if isinstance(recipe.start, dict):
        return found | {"start": {name: checkpoint.weights_digest(run) for name, run in recipe.start.items()}}
    return found if recipe.start is None else found | {"start": checkpoint.weights_digest(recipe.start)}


def begin(recipe: Recipe) -> Model:
    """The model before the first step: a new one, with parts of others if the recipe starts with such, or the one that
    it starts with; a `CheckpointError` for what has another config there."""
    if recipe.start is None or isinstance(recipe.start, dict):
        model = compose(recipe.model)
        for name, run in (recipe.start or {}).items():
            checkpoint.take_part(model, name, run)
        return model
    model = checkpoint.load_model(recipe.start)
    for key in type(recipe.model).model_fields:
        if getattr(model.config, key) != getattr(recipe.model.resolved(), key):
            fix = f"set model.{key} as in its config.json, or start with another model"
            raise CheckpointError(f"{recipe.start}: is a model with another {key} than the recipe's; {fix}")
    return model


def open_run(recipe: Recipe, out: Path, resume: bool) -> Path | None:
    """Make or reopen a run's folder; returns the checkpoint to go on from. Another run's folder is refused."""
    written = out / RECIPE
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is a file; choose a folder for --out")
    if not out.exists() or set(out.iterdir()) <= {partial_of(written)}:
        write_file(written, recipe.to_yaml())
        return None
    if not written.is_file():
        raise CheckpointError(f"{out}: holds other files and no {RECIPE}; choose an empty folder for --out")
    if load_yaml(written, Recipe) != recipe:
        fix = "choose another --out, or remove the folder if that run is no longer wanted"
        raise CheckpointError(f"{out}: holds a run of another recipe (see {written}); {fix}")
    if not resume:
        raise CheckpointError(f"{out}: already holds this run; add --resume to go on, or choose another --out")
    return checkpoint.newest_checkpoint(out)
