"""Mono-InternVL (arXiv 2410.08202, 2507.12566): no encoder; experts in the language model's layers learn to see."""

from __future__ import annotations

from typing import Any

from sensorium.interop.means import IMAGENET_MEAN, IMAGENET_STD
from sensorium.recipe import Recipe, recipe
from sensorium.recipes import mini
from sensorium.recipes.published import shares, slot
from sensorium.template import ChatTemplate

INTERNLM2: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 92553,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
}
"""InternLM2-1.8B, which is a Llama whose projections are stored together"""

PATCHES: dict[str, Any] = {
    "type": "vit",
    "image_size": 448,
    "patch_size": 14,
    "width": 1024,
    "depth": 0,
    "stem": "patch",
    "final_norm": False,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
"""One linear map of patches, and their positions"""


@recipe
def mono_internvl() -> Recipe:
    """Mono-InternVL-2B: concepts from noisy pairs and semantics from synthetic captions with the language model at
    rest, then alignment on tasks, then instructions.

    The third stage of the paper trains the language model's attention and not its feed-forward; here both. With
    `model.fusion.modules=[mlp,self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj]` it is version 1.5.
    """
    concepts = shares((1.0, slot("captions", "mono-concepts", "922 million noisy pairs")))
    semantics = shares((1.0, slot("captions", "mono-semantics", "258 million pictures with synthetic captions")))
    tasks = shares((1.0, slot("llava", "mono-tasks", "143 million samples of captions, detection and reading")))
    instructions = shares((1.0, slot("llava", "mono-instructions", "7 million instructions")))
    common = {"length": 4096, "micro_rows": 1, "weight_decay": 0.01, "warmup": 100, "lr": 2e-4}
    seeing = {**common, "trainable": ["encoder", "connector", "fusion"], "rows": 256}
    thinking = {**common, "trainable": ["encoder", "connector", "fusion", "backbone", "head"]}
    template = ChatTemplate.chatml().model_copy(
        update={"image": "<IMG_CONTEXT>", "before_image": "<img>", "after_image": "</img>"}
    )
    return Recipe.from_dict(
        {
            "name": "mono-internvl",
            "miniature": "mono-internvl-mini",
            "summary": "Mono-InternVL-2B: patches enter InternLM2-1.8B, whose layers have feed-forwards for them",
            "model": {
                "encoder": PATCHES,
                "tiling": {"type": "grid", "max_rows": 12, "max_columns": 12, "max_cells": 12},
                "connector": {"type": "pixel-shuffle", "scale": 2, "depth": 2, "norm": True},
                "assembly": {"type": "tiles", "positions": False},
                "fusion": {"type": "modality-experts", "modules": ["mlp"]},
                "backbone": {"type": "hf", "architecture": INTERNLM2},
                "tokenizer": {"type": "hf", "path": "OpenGVLab/Mono-InternVL-2B", "specials": ["<img>", "</img>"]},
                "template": template.to_dict(),
                "context": 4096,
                "overflow": "truncate",
            },
            "stages": [
                {**seeing, "name": "concepts", "data": concepts, "steps": 450_000},
                {**seeing, "name": "semantics", "data": semantics, "steps": 126_000},
                {**thinking, "name": "align", "data": tasks, "steps": 70_000, "rows": 256},
                {**thinking, "name": "instruct", "data": instructions, "steps": 55_000, "lr": 4e-5, "rows": 128},
            ],
            "save_every": 1_000,
        }
    )


@recipe
def mono_internvl_mini() -> Recipe:
    """Mono-InternVL's structure in small: a language model that knows the language, then patches and experts beside
    it, then all together. Its patches enter through convolutions: one linear map learns too slowly from nothing."""
    seeing = mini.instruct(800).model_copy(update={"name": "concepts", "trainable": ("encoder", "connector", "fusion")})
    whole = mini.instruct(2900).model_copy(update={"trainable": ("encoder", "connector", "fusion", "backbone", "head")})
    return mini.miniature(
        "mono-internvl-mini",
        "Mono-InternVL in small: convolutions for an encoder, and experts in the layers of the decoder",
        "encoder.patch_size=8",
        "connector={type: pixel-shuffle, scale: 2, depth: 2, norm: true}",
        "fusion={type: modality-experts, layers: [0, 1]}",  # nothing reads what features become in the last layer
        stages=(mini.see(), mini.read(), seeing, whole),
    )
