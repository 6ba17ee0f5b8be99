"""Two towers: CLIP and SigLIP at full size, and their miniatures on FactorWorld."""

from __future__ import annotations

from typing import Any

from sensorium.interop.means import CLIP_MEAN, CLIP_STD
from sensorium.recipe import Recipe, recipe
from sensorium.recipes.published import slot


def pairs(folder: str) -> dict[str, Any]:
    """Pictures with captions in a folder that the user brings."""
    return slot("tar", folder, "tar shards of pictures with captions", style="caption")


def world(**changes: Any) -> dict[str, Any]:
    """FactorWorld's short captions of plain objects, without a question."""
    plain = {
        "type": "factorworld",
        "style": "caption",
        "shapes": ["circle", "square", "triangle", "cross"],
        "colours": ["red", "green", "blue", "yellow", "purple", "orange"],
        "textures": ["plain"],
        "objects": [1, 3],
    }
    return plain | changes


RETRIEVAL = {
    "type": "retrieval",
    "sets": {"pairs": world(split="unseen-scenes", seed=77)},
    "pictures": 100,
    "distinct": True,
    "goals": {"picture-to-text/recall@1": 0.8, "text-to-picture/recall@1": 0.8},
}


@recipe
def clip() -> Recipe:
    """CLIP ViT-B/16 (arXiv 2103.00020): 400 M pairs, 32 epochs of batches of 32,768 pairs, which are here 512 packed
    rows of about 64 captions, read 8 rows at a time."""
    return Recipe.from_dict(
        {
            "name": "clip",
            "summary": "CLIP ViT-B/16: contrastive pre-training of two towers on pairs of your own",
            "model": {
                "encoder": {
                    "type": "vit",
                    "image_size": 224,
                    "patch_size": 16,
                    "width": 768,
                    "depth": 12,
                    "num_heads": 12,
                    "stem": "patch",
                    "stem_bias": False,
                    "class_token": True,
                    "initial_norm": True,
                    "activation": "quick-gelu",
                    "norm_eps": 1e-5,
                    "mean": CLIP_MEAN,
                    "std": CLIP_STD,
                },
                "tiling": {"type": "whole", "fit": "crop"},
                "connector": "class-token",
                "fusion": {"type": "towers", "joint_dim": 512},
                "backbone": {
                    "type": "text-tower",
                    "width": 512,
                    "depth": 12,
                    "num_heads": 8,
                    "positions": 77,
                    "activation": "quick-gelu",
                },
                "head": "embedding",
                "tokenizer": {"type": "bpe", "vocab_size": 49408, "corpus": [pairs("pairs")], "samples": 200_000},
                "context": 77,
                "overflow": "truncate",
            },
            "stages": [
                {
                    "name": "contrast",
                    "data": [{"source": pairs("pairs")}],
                    "objective": "contrastive",
                    "steps": 390_000,
                    "lr": 5e-4,
                    "warmup": 2000,
                    "weight_decay": 0.2,
                    "betas": [0.9, 0.98],
                    "length": 1024,
                    "rows": 512,
                    "micro_rows": 8,
                }
            ],
            "evaluation": [{"type": "retrieval", "sets": {"pairs": pairs("held-out")}}],
            "save_every": 1000,
            "miniature": "clip-mini",
        }
    )


@recipe
def siglip() -> Recipe:
    """SigLIP ViT-B/16 (arXiv 2303.15343): batches of 32,768 pairs, whose texts fill 64 tokens each."""
    return Recipe.from_dict(
        {
            "name": "siglip",
            "summary": "SigLIP ViT-B/16: each picture and text by itself a pair or not, on pairs of your own",
            "model": {
                "encoder": {
                    "type": "vit",
                    "image_size": 224,
                    "patch_size": 16,
                    "width": 768,
                    "depth": 12,
                    "num_heads": 12,
                    "stem": "patch",
                    "activation": "gelu-tanh",
                },
                "connector": {"type": "map-head", "num_heads": 12},
                "fusion": {"type": "towers", "joint_dim": 768, "causal": False},
                "backbone": {
                    "type": "text-tower",
                    "width": 768,
                    "depth": 12,
                    "num_heads": 12,
                    "positions": 64,
                    "activation": "gelu-tanh",
                    "norm_eps": 1e-6,
                },
                "head": {"type": "embedding", "bias": True, "scale": 10, "max_scale": None, "logit_bias": -10},
                "tokenizer": {"type": "bpe", "vocab_size": 32000, "corpus": [pairs("pairs")], "samples": 200_000},
                "template": {"document": {"end": "<|end|>", "length": 64}},
                "context": 64,
                "overflow": "truncate",
            },
            "stages": [
                {
                    "name": "contrast",
                    "data": [{"source": pairs("pairs")}],
                    "objective": "sigmoid-contrastive",
                    "steps": 275_000,
                    "lr": 1e-3,
                    "warmup": 20_000,
                    "weight_decay": 1e-4,
                    "betas": [0.9, 0.95],
                    "length": 4096,
                    "rows": 512,
                    "micro_rows": 8,
                }
            ],
            "evaluation": [{"type": "retrieval", "sets": {"pairs": pairs("held-out")}}],
            "save_every": 1000,
            "miniature": "siglip-mini",
        }
    )


def mini(name: str, summary: str, model: dict[str, Any], objective: Any) -> Recipe:
    """Two small towers on FactorWorld. The stem is convolutional, for patches learn too slowly from nothing."""
    stage = {"name": "contrast", "data": [{"source": world()}], "objective": objective, "steps": 600, "lr": 1e-3,
             "betas": [0.9, 0.98], "length": 512, "rows": 4}  # fmt: skip
    shared = {
        "encoder": {"type": "vit", "width": 96, "depth": 2, "num_heads": 4},
        "backbone": {"type": "text-tower", "width": 128, "depth": 2, "num_heads": 4},
        "tokenizer": {"type": "bpe", "corpus": [world()]},
        "context": 64,
    }
    encoder = shared["encoder"] | model.pop("encoder", {})
    return Recipe.from_dict(
        {
            "name": name,
            "summary": summary,
            "model": shared | model | {"encoder": encoder},
            "stages": [stage],
            "evaluation": [RETRIEVAL],
        }
    )


@recipe
def clip_mini() -> Recipe:
    """CLIP's structure in small: a class token, a causal text tower, softmax over all pairs of a step."""
    model = {
        "encoder": {"class_token": True, "initial_norm": True},
        "connector": "class-token",
        "fusion": {"type": "towers", "joint_dim": 128},
        "head": "embedding",
    }
    summary = "CLIP in small: FactorWorld's pictures and captions find each other, in minutes on two cores"
    return mini("clip-mini", summary, model, {"type": "contrastive", "same_texts": True})


@recipe
def siglip_mini() -> Recipe:
    """SigLIP's structure in small: a learned probe pools the picture, the text tower looks both ways, and a sigmoid
    judges each pair by itself."""
    model = {
        "connector": "map-head",
        "fusion": {"type": "towers", "joint_dim": 128, "causal": False},
        "head": {"type": "embedding", "bias": True, "scale": 10, "max_scale": None, "logit_bias": -10},
    }
    summary = "SigLIP in small: FactorWorld's pictures and captions find each other, in minutes on two cores"
    return mini("siglip-mini", summary, model, "sigmoid-contrastive")
