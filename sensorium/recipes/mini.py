"""What the miniatures of published systems share: FactorWorld, small parts, and stages that stand for pre-training.

A published system begins with an encoder and a language model that others have trained. A miniature begins with
nothing, so its first stage, `see`, teaches its encoder (as the demo's does); from then on it goes the system's own way.
"""

from __future__ import annotations

from typing import Any

from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.model import ModelConfig
from sensorium.objectives.next_token import NextToken
from sensorium.recipe import Recipe, Share, Stage
from sensorium.recipes import demo
from sensorium.recipes.demo import MODEL, world


def see(steps: int = 1000, **changes: Any) -> Stage:
    """Stands for a pre-trained encoder: what is where."""
    return demo.align(steps, **changes).model_copy(update={"name": "see"})


def align_connector(steps: int = 200, **changes: Any) -> Stage:
    """Captions, for the connector alone."""
    stage = demo.instruct(steps, **changes)
    captions = (Share(source=world(style="short", **changes)),)
    return stage.model_copy(
        update={"name": "align", "data": captions, "trainable": ("connector",), "muon_lr": None, "objective": CAUSAL}
    )


def instruct(steps: int = 2600, **changes: Any) -> Stage:
    """Chats and captions, for all but the encoder."""
    return demo.instruct(steps, **changes)


CAUSAL = NextToken.Config()


def miniature(name: str, summary: str, *changes: str, stages: tuple[Stage, ...], size: int = 64) -> Recipe:
    """The demo's model with some of its config changed, in stages of its own, examined as the demo is."""
    model: ModelConfig = MODEL.override(*changes)
    suite = FactorWorldSuite.Config(world=world(size=(size, size)))
    return Recipe(name=name, summary=summary, model=model, stages=stages, evaluation=(suite,))
