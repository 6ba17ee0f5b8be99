"""LLaVA (2304.08485), LLaVA-1.5 (2310.03744) and their miniature: features in line with the text, two stages."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.recipes.mini import align_connector, instruct, miniature, see, speak
from sensorium.recipes.published import (
    LLAVA_GREY,
    VICUNA_7B,
    clip_l_224,
    clip_l_336,
    slot,
    tokenizer,
    vicuna,
)
from sensorium.stage import Stage


def stage(name: str, data: list[dict[str, Any]], samples: int, batch: int, **keys: Any) -> dict[str, Any]:
    """An epoch of `samples` in batches of `batch`, each on a row of 2,048 tokens, with 3 % of warm-up and no weight
    decay."""
    steps = samples // batch
    return {
        "name": name, "data": [{"source": source} for source in data], "steps": steps, "warmup": round(0.03 * steps),
        "rows": batch, "micro_rows": 1, "length": 2048, "weight_decay": 0.0, "betas": (0.9, 0.999), **keys,
    }  # fmt: skip


def model(encoder: dict[str, Any], connector: Any, language: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "encoder": encoder,
        "tiling": {"type": "whole", "fit": "pad", "fill": LLAVA_GREY},
        "connector": connector,
        "backbone": language,
        "tokenizer": tokenizer(language, "<unk>"),
        "template": vicuna().to_dict(),
        "context": 2048,
        "overflow": "truncate",
        **keys,
    }


PRETRAIN_558K = slot("llava", "llava-pretrain-558k", "LLaVA's 558,000 captions (its .json, and images)")
MIX_665K = slot("llava", "llava-mix-665k", "LLaVA-1.5's mixture (llava_v1_5_mix665k.json and its images)")


@recipe
def llava() -> Recipe:
    """The first LLaVA: one linear map from CLIP's features to Vicuna."""
    captions = slot("llava", "llava-cc3m-595k", "LLaVA's 595,000 captions of CC3M (chat.json and images)")
    said = slot("llava", "llava-instruct-158k", "LLaVA's 158,000 conversations (llava_instruct_150k.json, COCO images)")
    return Recipe.from_dict({
        "name": "llava",
        "summary": "CLIP ViT-L/14 and Vicuna-7B, joined by one linear map (2304.08485)",
        "miniature": "llava-mini",
        "model": model(clip_l_224(), "linear", VICUNA_7B),
        "stages": [
            stage("align", [captions], 595_000, 128, lr=2e-3, trainable=["connector"]),
            stage("instruct", [said], 3 * 158_000, 32, lr=2e-5, trainable=["connector", "backbone", "head"]),
        ],
    })  # fmt: skip


@recipe
def llava_1_5() -> Recipe:
    """LLaVA-1.5-7B: 336 pixels, an MLP, academic questions with short answers."""
    return Recipe.from_dict({
        "name": "llava-1.5",
        "summary": "CLIP ViT-L/14 at 336 pixels and Vicuna-7B, joined by an MLP (2310.03744)",
        "miniature": "llava-1.5-mini",
        "model": model(clip_l_336(), "mlp", VICUNA_7B),
        "stages": [
            stage("align", [PRETRAIN_558K], 558_000, 256, lr=1e-3, trainable=["connector"]),
            stage("instruct", [MIX_665K], 665_000, 128, lr=2e-5, trainable=["connector", "backbone", "head"]),
        ],
    })  # fmt: skip


@recipe
def llava_next() -> Recipe:
    """LLaVA-NeXT-7B: a picture and tiles of it, padding cut away, a mark at the end of each row."""
    canvases = {
        "type": "grid", "canvases": [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)], "thumbnail": "stretch",
        "always_thumbnail": True, "fill": (0, 0, 0),
    }  # fmt: skip
    larger = {"tiling": canvases, "assembly": "unpad", "context": 4096}
    trained = ["connector", "assembly"]
    mix = slot("llava", "llava-next-760k", "LLaVA-NeXT's mixture (its .json, and images)")
    everything = {"trainable": ["encoder", *trained, "backbone", "head"], "lr_of": {"encoder": 2e-6}}
    return Recipe.from_dict({
        "name": "llava-next",
        "summary": "LLaVA-1.5 on tiles of any resolution (LLaVA-NeXT)",
        "miniature": "llava-next-mini",
        "model": {**model(clip_l_336(), "mlp", VICUNA_7B), **larger},
        "stages": [
            stage("align", [PRETRAIN_558K], 558_000, 256, lr=1e-3, trainable=trained, length=4096),
            stage("instruct", [mix], 760_000, 128, lr=2e-5, length=4096, **everything),
        ],
    })  # fmt: skip


def stages() -> tuple[Stage, ...]:
    """Its two stages, after those that stand for CLIP and Vicuna."""
    return see(), speak(), align_connector(), instruct()


@recipe
def llava_mini() -> Recipe:
    """LLaVA's parts and stages on FactorWorld, after stages that stand for CLIP and Vicuna."""
    return miniature("llava-mini", "LLaVA's structure on FactorWorld", "connector=linear", stages=stages())


@recipe
def llava_1_5_mini() -> Recipe:
    """LLaVA-1.5's parts and stages on FactorWorld, after stages that stand for CLIP and Vicuna."""
    return miniature("llava-1.5-mini", "LLaVA-1.5's structure on FactorWorld", "connector=mlp", stages=stages())


@recipe
def llava_next_mini() -> Recipe:
    """LLaVA-NeXT's parts and stages on FactorWorld: pictures twice as wide as high, a thumbnail and two tiles."""
    wide: dict[str, Any] = {"size": (128, 64)}
    align = align_connector(**wide).model_copy(update={"trainable": ("connector", "assembly")})
    tune = instruct(5000, **wide)
    tune = tune.model_copy(update={"trainable": (*tune.trainable, "assembly")})
    changes = ("tiling={type: grid, thumbnail: stretch}", "connector=mlp", "assembly=unpad")
    stages = see(**wide), speak(), align, tune
    return miniature("llava-next-mini", "LLaVA-NeXT's structure on FactorWorld", *changes, stages=stages, **wide)
