"""InfiMM-HD (arXiv 2403.01487): raw features of high-resolution pictures in the keys of gated cross-attention."""

from __future__ import annotations

from typing import Any

from sensorium.data.tilings.whole import Whole
from sensorium.interop.means import CLIP_MEAN, CLIP_STD
from sensorium.recipe import Recipe, Stage, recipe
from sensorium.recipes import mini
from sensorium.recipes.published import LLAVA_GREY, shares, slot
from sensorium.template import ChatTemplate, Turn

EVA: dict[str, Any] = {
    "type": "vit",
    "image_size": 448,
    "patch_size": 14,
    "width": 1792,
    "depth": 63,
    "num_heads": 16,
    "mlp_ratio": 15360 / 1792,
    "stem": "patch",
    "class_token": True,
    "block_norm": "after",
    "final_norm": False,
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
}
"""EVA2-CLIP-E up to its last block but one, whose 1025 tokens the paper takes; the released code takes the last's."""

VICUNA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32002,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}

CHUNK = "<|endofchunk|>"
TASKS = {
    "coco-captions": 205,
    "textcaps": 55,
    "vizwiz-captions": 55,
    "vqav2": 443,
    "okvqa": 9,
    "vizwiz": 20,
    "gqa": 471,
    "aokvqa": 17,
    "textvqa": 34,
    "ocrvqa": 166,
    "stvqa": 26,
    "docvqa": 63,
    "llavar": 16,
    "vg-regions": 429,
}
"""Thousands of samples of each set in the second and third stage (section 4.1)"""


WHOLE = {"type": "whole", "fit": "pad", "fill": LLAVA_GREY}


def stage(name: str, data: list[dict[str, Any]], trainable: list[str], rows: int, **keys: Any) -> dict[str, Any]:
    """Cosine from 1e-5, 8,000 steps, as in the second and third; rows of 1,024 tokens."""
    return {
        "name": name, "data": data, "trainable": trainable, "rows": rows, "micro_rows": 1, "length": 1024,
        "weight_decay": 0.1, "warmup": 400, "steps": 8_000, "lr": 1e-5, "final_lr": 0.1, "betas": [0.9, 0.999], **keys,
    }  # fmt: skip


@recipe
def infimm_hd() -> Recipe:
    """InfiMM-HD, 18 billion parameters, in its four stages: pairs and pages, tasks at 448 pixels, tasks at any
    resolution, instructions.

    The first stage of the paper sees pictures at 224 pixels; here all see tiles of 448. Rows are packed, and how
    many make a step is ours to choose: the paper counts samples, which are padded.
    """
    web = shares(
        (0.5, slot("captions", "laion-coyo", "140 million pairs of LAION-2B, COYO and LAION-COCO, filtered")),
        (0.25, slot("mmc4", "mmc4", "half of Multimodal C4")),
        (0.25, slot("interleaved", "obelics", "half of OBELICS")),
    )
    tasks = shares(*((size, slot("llava", name, f"{size},000 samples of {name}")) for name, size in TASKS.items()))
    instructions = shares(
        (665, slot("llava", "llava-665k", "LLaVA-1.5's instructions")),
        (16, slot("llava", "llavar", "LLaVAR")),
        (34, slot("llava", "textvqa", "TextVQA")),
        (12, slot("llava", "scienceqa", "ScienceQA")),
    )
    first: dict[str, Any] = {
        "steps": 120_000, "lr": 1e-4, "warmup": 6_000, "schedule": "constant", "final_lr": 0.0, "betas": [0.9, 0.95],
    }  # fmt: skip
    return Recipe.from_dict({
        "name": "infimm-hd",
        "miniature": "infimm-hd-mini",
        "summary": "InfiMM-HD: Vicuna-13B attends to raw features of tiles of 448 pixels through vector gates",
        "model": {
            "encoder": EVA,
            "tiling": {"type": "grid", "max_rows": 3, "max_columns": 3, "max_cells": 9, "fill": LLAVA_GREY},
            "connector": "identity",
            "assembly": "sinusoidal",
            "fusion": {
                "type": "cross-attention", "every": 4, "num_heads": 12, "head_dim": 64, "ff_ratio": 1,
                "gates": "vector",
            },
            "backbone": {"type": "hf", "architecture": VICUNA},
            "tokenizer": {"type": "hf", "path": "lmsys/vicuna-13b-v1.5", "specials": [CHUNK, "<image>"]},
            "template": ChatTemplate(
                document=Turn(prefix="<s>", end=CHUNK),
                user=Turn(prefix="USER: "),
                assistant=Turn(prefix=" ASSISTANT:", end=CHUNK),
                image="<image>",
                end_of_chunk=CHUNK,
            ).to_dict(),
            "context": 1024,
            "overflow": "truncate",
        },
        "stages": [
            stage("pre-train", web, ["fusion"], 576, tiling=WHOLE, **first),
            stage("continue", tasks, ["encoder", "fusion"], 32, tiling=WHOLE),
            stage("any-resolution", tasks, ["encoder", "fusion"], 32),
            stage("instruct", instructions, ["fusion", "backbone", "head"], 64, steps=11_000, warmup=550, lr=5e-6),
        ],
        "save_every": 1_000,
    })  # fmt: skip


@recipe
def infimm_hd_mini() -> Recipe:
    """InfiMM-HD's structure in small: eyes and a language model that learned each for itself, then its four stages on
    pictures of 64 pixels, seen at first at 32 and then as a thumbnail and four tiles."""

    def asked(name: str, steps: int, **changes: Any) -> Stage:
        return mini.instruct(steps).model_copy(update={"name": name, **changes})

    return mini.miniature(
        "infimm-hd-mini",
        "InfiMM-HD in small: raw features of tiles in the keys of cross-attention, with vector gates",
        mini.PLACES,
        "encoder.image_size=32",
        "encoder.patch_size=8",
        "tiling=grid",
        "connector=identity",
        "assembly=sinusoidal",
        "fusion={type: cross-attention, num_heads: 4, head_dim: 24, ff_ratio: 1, gates: vector}",
        stages=(
            mini.see(1500),
            mini.read(),
            asked("pre-train", 300, trainable=("fusion",), tiling=Whole.Config(), lr=2e-3),
            asked("continue", 500, trainable=("encoder", "fusion"), tiling=Whole.Config()),
            asked("any-resolution", 300, trainable=("encoder", "fusion")),
            asked("instruct", 2000, trainable=("fusion", "backbone", "head")),
        ),
    )
