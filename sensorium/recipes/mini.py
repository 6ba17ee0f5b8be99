"""What the miniatures of published systems share: FactorWorld, small parts, and stages that stand for pre-training.

A published system begins with an encoder and a language model that others have trained. A miniature begins with
nothing, so its first stage, `see`, teaches its encoder (as the demo's does); from then on it goes the system's own way.
"""

from __future__ import annotations

from typing import Any

from sensorium.data.sources.text_only import TextOnly
from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.model import ModelConfig
from sensorium.objectives.next_token import NextToken
from sensorium.recipe import Recipe, Share, Stage
from sensorium.recipes import demo
from sensorium.recipes.demo import world

MODEL: ModelConfig = demo.MODEL.override("encoder.patch_size=16")
"""The demo's with a grid of 4 x 4 features: where all of them enter the text, almost as many samples fit into a row as
with the demo's few."""

PLACES = "encoder.position_std=1.2"
"""Places told as loudly as what stands there: resamplers and cross-attention know of no order."""


def see(steps: int = 2000, **changes: Any) -> Stage:
    """Stands for a pre-trained encoder: what is where. Of all stages it is the one whose steps buy most."""
    return demo.align(steps, **changes).model_copy(update={"name": "see"})


def read(steps: int = 300) -> Stage:
    """Stands for a language model that has read texts alone, and knows what is asked but no answer."""
    chats, captions = (TextOnly.Config(source=world(style=style, late=0.7)) for style in ("chat", "short"))
    data = Share(source=chats, weight=3), Share(source=captions)
    return instruct(steps).model_copy(update={"name": "read", "data": data, "trainable": ("backbone", "head")})


def speak(steps: int = 300) -> Stage:
    """Stands for a language model: it reads what is in a picture in words, answers, and repeats it."""
    read: dict[str, Any] = {"style": "chat", "described": True, "late": 0.5}
    alone = world(**read, objects=(1, 1), questions=("existence", "relation"), turns=4)
    relations = world(**read, objects=(2, 3), questions=("count", "relation", "existence"), turns=5)
    shares = ((world(**read), 6), (alone, 3), (relations, 6), (world(style="short"), 1))
    data = tuple(Share(source=TextOnly.Config(source=source), weight=weight) for source, weight in shares)
    return demo.instruct(steps).model_copy(update={"name": "speak", "data": data, "trainable": ("backbone", "head")})


def align_connector(steps: int = 100, **changes: Any) -> Stage:
    """Captions, for the connector alone."""
    stage = demo.instruct(steps, **changes)
    captions = (Share(source=world(style="short", **changes)),)
    return stage.model_copy(
        update={"name": "align", "data": captions, "trainable": ("connector",), "muon_lr": None, "objective": CAUSAL}
    )


def instruct(steps: int = 3700, **changes: Any) -> Stage:
    """Chats and captions, for all but the encoder."""
    return demo.instruct(steps, **changes).model_copy(update={"muon_lr": 1.5e-3})


CAUSAL = NextToken.Config()


def miniature(name: str, summary: str, *changes: str, stages: tuple[Stage, ...], **changed: Any) -> Recipe:
    """`MODEL` with some of its config changed, in stages of its own, examined as the demo is, in a world with what is
    `changed`."""
    suite = FactorWorldSuite.Config(world=world(**changed))
    return Recipe(name=name, summary=summary, model=MODEL.override(*changes), stages=stages, evaluation=(suite,))
