"""The small models of the studies on data: eyes that were opened beforehand, and a captioner that learns with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sensorium.data.source import Source
from sensorium.evaluation.suite import Suite
from sensorium.model import ModelConfig
from sensorium.recipe import Recipe, Share, Stage
from sensorium.recipes.demo import MODEL, align
from sensorium.training.trainer import train

ONE_CORE: dict[str, Any] = {"rows": 2, "micro_rows": 2, "lanes": 1, "length": 512, "precision": "float32"}

SAVE = 100
"""Steps between checkpoints, for studies that are run a little at a time."""


def seeing(steps: int) -> Stage:
    """The demo's first stage, on one core: single objects of clean scenes, and where they are."""
    return align(steps=steps).model_copy(update=ONE_CORE)


def eyes(folder: Path, steps: int, seed: int, model: ModelConfig = MODEL) -> Path:
    """A model in `folder` that tells objects apart and has no language yet, trained if it is not there."""
    recipe = Recipe(name="eyes", model=model, stages=(seeing(steps),), seed=seed, save_every=SAVE)
    train(recipe, folder, resume=True, quiet=True)
    return folder


def saying(data: tuple[Share, ...], steps: int, **changes: Any) -> Stage:
    """Captions, or whatever the data say, in the words of what was seen."""
    parts = ("connector", "fusion", "backbone", "head")
    return Stage(name="caption", data=data, steps=steps, lr=1e-3, muon_lr=3e-3, trainable=parts, warmup=20, **ONE_CORE,
                 **changes)  # fmt: skip


def captioner(folder: Path, source: Source.Config, steps: int, blind: bool = False) -> Path:
    """A model in `folder` that learned to see and then to caption the pictures of `source`, or its text-only twin."""
    stages = (seeing(steps), saying((Share(source=source),), steps))
    train(Recipe(name="captioner", model=MODEL, stages=stages, blind=blind), folder, resume=True, quiet=True)
    return folder


def learner(data: tuple[Share, ...], steps: int, start: Path, exam: Suite.Config, model: ModelConfig = MODEL) -> Recipe:
    """What learns from a selection alone, with eyes from `start`."""
    stage = saying(data, steps, cache_features=True)
    return Recipe(name="learner", model=model, start=start, stages=(stage,), evaluation=(exam,), save_every=SAVE)
