"""What a run's folder says about itself: recipe, log, sizes, manifest. Reads no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from sensorium.config import load_yaml
from sensorium.errors import CheckpointError
from sensorium.model import PARTS
from sensorium.recipe import Recipe
from sensorium.training.checkpoint import MANIFEST, find_model
from sensorium.training.trainer import RECIPE

Step = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run as its folder records it."""

    folder: Path
    model: Path
    recipe: Recipe
    steps: list[Step]
    manifest: dict[str, Any]
    parameters: dict[str, int]
    """stored numbers of each part; a weight that two parts share counts where it is stored"""

    @property
    def seconds(self) -> float:
        return sum(step["seconds"] for step in self.steps)

    def curve(self, key: str) -> list[tuple[float, float]]:
        """(step, value) over the whole run."""
        return [(step["step"], step[key]) for step in self.steps if key in step]

    def stage_starts(self) -> dict[float, str]:
        """The step before which each stage began, with its name."""
        starts: dict[str, float] = {}
        for step in self.steps:
            starts.setdefault(step["stage"], step["step"] - 1)
        return {at: name for name, at in starts.items()}


def read_run(folder: str | Path) -> Run:
    """Read a run's folder; a `CheckpointError` says what is missing."""
    folder = Path(folder)
    if not (folder / RECIPE).is_file():
        raise CheckpointError(f"{folder}: no {RECIPE}, so not a run; give a folder that `sensorium train` wrote")
    model = find_model(folder)
    return Run(
        folder,
        model,
        load_yaml(folder / RECIPE, Recipe),
        read_log(folder / "log.jsonl"),
        json.loads((model / MANIFEST).read_text()),
        {name: _stored(model / f"{name}.safetensors") for name in PARTS},
    )


def read_log(file: Path) -> list[Step]:
    """The steps of a log, each once: a run that was cut off and resumed has written some of them twice, and the last
    line may be cut short."""
    steps: dict[int, Step] = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            step = json.loads(line)
        except ValueError:
            continue
        steps[step["step"]] = step
    return [steps[number] for number in sorted(steps)]


def _stored(file: Path) -> int:
    if not file.is_file():
        return 0
    with safe_open(file, "pt") as tensors:
        return sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
