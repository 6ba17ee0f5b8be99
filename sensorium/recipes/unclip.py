"""unCLIP (2204.06125, known as DALL-E 2): towers that are frozen, a prior from texts to pictures' embeddings, a decoder
from those to pictures."""

from __future__ import annotations

from typing import Any

from sensorium.interop.means import CLIP_MEAN, CLIP_STD
from sensorium.recipe import Recipe, recipe
from sensorium.recipes import towers
from sensorium.recipes.towers import clip_mini, pairs

TOWERS = ["encoder", "connector", "fusion", "backbone", "head"]


def stage(name: str, objective: str, trainable: list[str], steps: int, **keys: Any) -> dict[str, Any]:
    """A row of 1,024 tokens holds about 64 captions."""
    return {
        "name": name, "data": [{"source": pairs("pairs")}], "objective": objective, "trainable": trainable,
        "steps": steps, "length": 1024, "micro_rows": 1, "warmup": 2000, **keys,
    }  # fmt: skip


@recipe
def unclip() -> Recipe:
    """Towers of ViT-H/16 at 256 pixels and a text tower of 24 layers; a diffusion prior of 24 layers of width 2048;
    a decoder of 64 x 64 pixels as large as the picture side of the paper's 3.5 billion parameters, of which its text
    encoder has 1.2. Batches and steps are the paper's; rates, decay and betas are not confirmed against it, and the
    towers have CLIP's own schedule. Without the averaged weights, the two upsamplers to 1024 x 1024,
    and the decoder's text encoder."""
    model = {
        "encoder": {
            "type": "vit", "image_size": 256, "patch_size": 16, "width": 1280, "depth": 32, "num_heads": 16,
            "stem": "patch", "stem_bias": False, "class_token": True, "initial_norm": True, "mean": CLIP_MEAN,
            "std": CLIP_STD,
        },
        "tiling": {"type": "whole", "fit": "crop"},
        "connector": "class-token",
        "fusion": {"type": "towers", "joint_dim": 1024},
        "backbone": {"type": "text-tower", "width": 1024, "depth": 24, "num_heads": 16, "positions": 77},
        "head": "embedding",
        "prior": {"type": "diffusion", "width": 2048, "depth": 24, "num_heads": 32},
        "painter": {
            "type": "unet", "latents": {"type": "pixels", "side": 64}, "width": 512, "multiples": [1, 2, 3, 4],
            "depth": 3, "attention": [32, 16, 8], "head_dim": 64, "sampling_steps": 250,
        },
        "tokenizer": {"type": "bpe", "vocab_size": 49408, "corpus": [pairs("pairs")], "samples": 200_000},
        "context": 77,
        "overflow": "truncate",
    }  # fmt: skip
    contrast: dict[str, Any] = {
        "data": [{"source": pairs("clip")}, {"source": pairs("pairs")}], "lr": 5e-4, "weight_decay": 0.2,
        "betas": [0.9, 0.98], "rows": 512,
    }  # fmt: skip
    prior: dict[str, Any] = {"lr": 1.1e-4, "weight_decay": 0.06, "betas": [0.9, 0.96], "rows": 64}
    decode: dict[str, Any] = {"lr": 1.2e-4, "weight_decay": 0.0, "betas": [0.9, 0.999], "rows": 32}
    return Recipe.from_dict({
        "name": "unclip",
        "summary": "unCLIP: pictures by texts and like others, a prior and a decoder on frozen towers (2204.06125)",
        "miniature": "unclip-mini",
        "model": model,
        "stages": [
            stage("contrast", "contrastive", TOWERS, 390_000, **contrast),
            stage("prior", "embedding-prior", ["prior"], 600_000, **prior),
            stage("decode", "denoising", ["painter"], 800_000, **decode),
        ],
        "save_every": 1000,
    })  # fmt: skip


def world(**changes: Any) -> dict[str, Any]:
    """One plain object on a plain background."""
    return towers.world(**{"objects": [1, 1], "backgrounds": ["plain"], **changes})


@recipe
def unclip_mini() -> Recipe:
    """unCLIP's stages on FactorWorld's single objects. Towers like CLIP's ViT, as `clip-mini` has them, learn their
    colours and sizes and hardly shapes in this time; convolutions and attention pooling, like CLIP's ResNets, learn
    all three."""
    common = {"data": [{"source": world()}], "lr": 1e-3, "betas": [0.9, 0.98], "length": 512, "weight_decay": 0.01}
    model = clip_mini().model.to_dict()
    model["encoder"] = {"type": "vit", "width": 96, "depth": 0, "stem_blocks": 1}
    model["connector"] = {"type": "attention-pool", "head_dim": 24}
    model["tokenizer"] = {"type": "bpe", "corpus": [world()]}
    model["prior"] = {"type": "diffusion", "width": 128, "depth": 3, "longest": 16, "sampling_steps": 16}
    model["painter"] = {
        "type": "unet", "latents": {"type": "pixels", "scale": 3}, "width": 16, "multiples": [1, 2, 4],
        "head_dim": 16, "prediction": "x0",
    }  # fmt: skip
    return Recipe.from_dict(
        {
            "name": "unclip-mini",
            "summary": "unCLIP in small: FactorWorld's single objects drawn by texts and like others",
            "model": model,
            "stages": [
                {**common, "name": "contrast", "objective": {"type": "contrastive", "same_texts": True},
                 "trainable": TOWERS, "steps": 300, "rows": 2, "muon_lr": 3e-3},
                {**common, "name": "prior", "objective": "embedding-prior", "trainable": ["prior"], "steps": 300,
                 "rows": 2},
                {**common, "name": "decode", "objective": "denoising", "trainable": ["painter"], "steps": 6000,
                 "rows": 2, "length": 128, "micro_rows": 1, "lanes": 2, "lr": 2e-3, "muon_lr": 1e-2},
            ],
            "evaluation": [{"type": "draws", "world": world()}],
        }
    )  # fmt: skip
