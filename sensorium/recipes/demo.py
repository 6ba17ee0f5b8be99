"""The demo: a real, small multimodal model from nothing in minutes on two CPU cores, and its variants."""

from __future__ import annotations

from typing import Any

from sensorium.backbones.decoder import Decoder
from sensorium.connectors.max_pool import MaxPool
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.encoders.vit import ViT
from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.model import ModelConfig
from sensorium.objectives.caption_tokens import CaptionTokens
from sensorium.recipe import Recipe, Share, Stage, recipe
from sensorium.tokenizers.bpe import BPE

MODEL = ModelConfig(
    encoder=ViT.Config(image_size=64, patch_size=8, width=128, depth=0, stem_blocks=1, final_norm=False),
    connector=MaxPool.Config(),
    backbone=Decoder.Config(width=128, depth=3, num_heads=4, num_kv_heads=4, mlp_width=384),
    tokenizer=BPE.Config(vocab_size=512, corpus=(FactorWorld.Config(), FactorWorld.Config(style="short"))),
    context=256,
)


def world(**changes: Any) -> FactorWorld.Config:
    """The part of FactorWorld that minutes suffice for: plain objects, four shapes, six colours."""
    return FactorWorld.Config(
        shapes=("circle", "square", "triangle", "cross"),
        colours=("red", "green", "blue", "yellow", "purple", "orange"),
        textures=("plain",),
        objects=(1, 3),
    ).model_copy(update=changes)


@recipe
def demo() -> Recipe:
    """FactorWorld in two stages: single objects teach it to see, scenes and questions teach it to answer."""
    return Recipe(
        name="demo",
        summary="A small model from nothing learns to answer about pictures of shapes, in minutes on two cores",
        model=MODEL,
        stages=(align(steps=350), instruct(steps=1700)),
        evaluation=(FactorWorldSuite.Config(world=world()),),
    )


def align(steps: int, **changes: Any) -> Stage:
    """Captions of single objects as bags of words, which shows the encoder what there is to tell apart. Without this
    stage a model from nothing learns to read features that the encoder never learns to make."""
    return Stage(
        name="align",
        data=(Share(source=world(objects=(1, 1), style="short", **changes)),),
        objective=CaptionTokens.Config(),
        trainable=("encoder", "connector", "head"),
        steps=steps,
        lr=1e-3,
        warmup=20,
        schedule="constant",
        rows=2,
    )


def instruct(steps: int, **changes: Any) -> Stage:
    """Chats and captions, half of them of single objects, from which the language model first learns to read."""

    def share(style: str, weight: float, **more: Any) -> Share:
        return Share(source=world(style=style, late=0.7, **{**changes, **more}), weight=weight)

    alone = {"objects": (1, 1)}
    return Stage(
        name="instruct",
        data=(share("chat", 4), share("short", 1), share("chat", 1, **alone), share("short", 1, **alone)),
        steps=steps,
        lr=1e-3,
        lr_of={"encoder": 2e-4},
        warmup=20,
        rows=2,
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
    return demo().model_copy(
        update={
            "name": "demo-anyres",
            "summary": "The demo on pictures of 128 pixels, cut into tiles of 64",
            "model": MODEL.override("tiling=grid"),
            "stages": (align(steps=300, size=(128, 128)), instruct(steps=1200, size=(128, 128))),
            "evaluation": (FactorWorldSuite.Config(world=world(size=(128, 128))),),
        }
    )


@recipe
def demo_reading() -> Recipe:
    """The demo with a word or a number in every picture, and longer: letters are small and there are many words."""
    reading = ("existence", "count", "colour", "shape", "size", "relation", "reading")
    changes: dict[str, Any] = {"writing": 1.0, "questions": reading}
    return demo().model_copy(
        update={
            "name": "demo-reading",
            "summary": "The demo with short words and numbers to read",
            "stages": (align(steps=300), instruct(steps=6000, **changes)),
            "evaluation": (FactorWorldSuite.Config(world=world(**changes)),),
        }
    )
