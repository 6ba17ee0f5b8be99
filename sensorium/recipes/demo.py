"""The demo: a real, small multimodal model from nothing in minutes on two CPU cores, and its variants."""

from __future__ import annotations

from typing import Any

from sensorium.backbones.decoder import Decoder
from sensorium.connectors.peaks import Peaks
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.encoders.vit import ViT
from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.model import ModelConfig
from sensorium.objectives.region_tokens import RegionTokens
from sensorium.recipe import Recipe, Share, Stage, recipe
from sensorium.tokenizers.bpe import BPE

CORPUS = FactorWorld.Config(), FactorWorld.Config(style="short")
MODEL = ModelConfig(
    encoder=ViT.Config(image_size=64, patch_size=8, width=96, depth=0, stem_blocks=1, final_norm=False),
    connector=Peaks.Config(peaks=6),
    backbone=Decoder.Config(width=96, depth=3, num_heads=4, num_kv_heads=4, mlp_width=256),
    tokenizer=BPE.Config(vocab_size=512, corpus=CORPUS),
    context=256,
)

GOALS = {
    "accuracy": 0.9,
    **{f"accuracy/{kind}": 0.8 for kind in ("existence", "count", "colour", "shape", "size", "relation")},
    "accuracy/unseen-combinations": 0.75,
    "caption/precision": 0.85,
    "caption/recall": 0.85,
    "blind/accuracy": 0.55,
}
"""What the demo is meant to reach, and what its twin, which sees nothing, may know at most."""


def world(**changes: Any) -> FactorWorld.Config:
    """The part of FactorWorld that minutes suffice for: plain objects, four shapes, six colours."""
    plain = {
        "shapes": ("circle", "square", "triangle", "cross"),
        "colours": ("red", "green", "blue", "yellow", "purple", "orange"),
        "textures": ("plain",),
        "objects": (1, 3),
    }
    return FactorWorld.Config.model_validate(plain | changes)


@recipe
def demo() -> Recipe:
    """FactorWorld in two stages: single objects teach it to see, scenes and questions teach it to answer."""
    return Recipe(
        name="demo",
        summary="A small model from nothing learns to answer about pictures of shapes, in minutes on two cores",
        model=MODEL,
        stages=(align(steps=1000), instruct(steps=2600)),
        evaluation=(FactorWorldSuite.Config(world=world(), goals=GOALS),),
    )


def align(steps: int, **changes: Any) -> Stage:
    """What is where, as bags of words: it teaches the encoder to tell things apart and to give each one token. Without
    this stage a model from nothing learns to read features that the encoder never learns to make."""
    return Stage(
        name="align",
        data=(Share(source=world(style="short", regions=True, **changes)),),
        objective=RegionTokens.Config(),
        trainable=("encoder", "connector", "head"),
        steps=steps,
        lr=1e-3,
        warmup=20,
        final_lr=0.1,
        rows=2,
        micro_rows=1,
        lanes=2,
    )


def instruct(steps: int, **changes: Any) -> Stage:
    """Chats and captions. Single objects teach what comes late if it must be learned of several at once: to say no to
    what is not there, and left from right. Relations between two or three objects take the most examples."""

    def share(style: str, weight: float, **more: Any) -> Share:
        return Share(source=world(style=style, late=0.7, **{**changes, **more}), weight=weight)

    alone = share("chat", 3, objects=(1, 1), questions=("existence", "relation"), turns=4)
    relations = share("chat", 6, objects=(2, 3), questions=("count", "relation", "existence"), turns=5)
    return Stage(
        name="instruct",
        data=(share("chat", 6), alone, relations, share("short", 3)),
        trainable=("connector", "fusion", "backbone", "head"),
        steps=steps,
        lr=1e-3,
        muon_lr=3e-3,
        warmup=20,
        rows=2,
        micro_rows=1,
        lanes=2,
    )


@recipe
def demo_mlp() -> Recipe:
    """The demo with an MLP connector."""
    return demo().variant("demo-mlp", "summary=The demo with an MLP connector", "model.connector=mlp")


@recipe
def demo_resampler() -> Recipe:
    """The demo with a perceiver resampler."""
    summary = "summary=The demo with a perceiver resampler"
    return demo().variant("demo-resampler", summary, "model.connector=perceiver", "model.connector.latents=16")


@recipe
def demo_anyres() -> Recipe:
    """The demo on pictures larger than the encoder's input: a thumbnail and four tiles."""
    return Recipe(
        name="demo-anyres",
        summary="The demo on pictures of 128 pixels, cut into tiles of 64",
        model=MODEL.override("tiling=grid"),
        stages=(align(steps=1000, size=(128, 128)), instruct(steps=2600, size=(128, 128))),
        evaluation=(FactorWorldSuite.Config(world=world(size=(128, 128)), goals=GOALS),),
    )


@recipe
def demo_reading() -> Recipe:
    """The demo with a word or a number in every picture, and longer: letters are small and there are many words."""
    written: dict[str, Any] = {"writing": 1.0}
    asked: dict[str, Any] = {"questions": ("existence", "count", "colour", "shape", "size", "relation", "reading")}
    words = FactorWorld.Config(writing=1.0, questions=("reading",))
    tokenizer = BPE.Config(vocab_size=1024, corpus=(*CORPUS, words))
    return Recipe(
        name="demo-reading",
        summary="The demo with short words and numbers to read",
        model=MODEL.model_copy(update={"tokenizer": tokenizer}),
        stages=(align(steps=3000, **written), instruct(steps=3500, **written, **asked)),
        evaluation=(FactorWorldSuite.Config(world=world(**written, **asked)),),
    )
