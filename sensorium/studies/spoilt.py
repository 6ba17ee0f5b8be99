"""What the studies of captions select from: FactorWorld with known noise, and a captioner that learns from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.config import find_part
from sensorium.curation.step import Scorer, Selector
from sensorium.data.sources.noisy import Noisy
from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.recipe import Recipe, Share
from sensorium.recipes.demo import world
from sensorium.studies.captioner import captioner, eyes, learner


@dataclass(frozen=True)
class Size:
    """Samples in the pool, kept of it, and known to be good: `clean` captions of other scenes are all that filters
    learn from. The others are steps of training, and captions that are examined."""

    pool: int = 3000
    kept: int = 1000
    clean: int = 500
    eyes: int = 400
    dfn: int = 100
    captioner: int = 150
    learner: int = 200
    captions: int = 300


@dataclass(frozen=True)
class Spoilt:
    """Captions of FactorWorld, of which the shares `noise` are spoilt. With `likelihood`, a captioner and its text-only
    twin score them, too."""

    size: Size
    noise: dict[str, float]
    likelihood: bool = False

    def pool(self, seed: int) -> list[Noisy.Config]:
        scenes = world(style="short", seed=1000 + seed, scenes=self.size.pool)
        return [Noisy.Config(source=scenes, seed=seed, **self.noise)]

    def scorers(self, seed: int, shared: Path) -> list[Scorer.Config]:
        size = self.size
        clean = world(style="short", seed=2, scenes=size.clean)
        dfn = {"type": "dfn", "clean": clean.to_dict(), "steps": size.dfn, "pairs": min(128, size.clean)}
        parts: list[dict[str, Any]] = [{"type": "text-quality"}, {"type": "picture-hash"}, dfn]
        if self.likelihood:
            models = {
                "checkpoint": captioner(shared / "captioner", clean, size.captioner),
                "twin": captioner(shared / "twin", clean, size.captioner, blind=True),
            }
            parts.append({"type": "likelihood", **{key: str(folder) for key, folder in models.items()}})
        return [scorer(part) for part in parts]

    def learner(self, data: tuple[Share, ...], seed: int, shared: Path) -> Recipe:
        start = eyes(shared / f"eyes-{seed}", self.size.eyes, seed)
        exam = FactorWorldSuite.Config(world=world(), questions=0, captions=self.size.captions)
        return learner(data, self.size.learner, start, exam)


def scorer(part: dict[str, Any]) -> Scorer.Config:
    """A scorer from what a YAML file would say."""
    found = find_part("scorer", part["type"]).model_validate(part)
    assert isinstance(found, Scorer.Config)
    return found


def selector(part: dict[str, Any]) -> Selector.Config:
    """A selector likewise."""
    found = find_part("selector", part["type"]).model_validate(part)
    assert isinstance(found, Selector.Config)
    return found
