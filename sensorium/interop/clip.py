"""`transformers`' CLIP as our two towers: its config, and the names of its tensors outside of the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.interop.means import CLIP_MEAN, CLIP_STD
from sensorium.interop.towers import blocks

VISION: dict[str, Any] = {"image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "intermediate_size": 3072, "layer_norm_eps": 1e-5}  # fmt: skip
TEXT: dict[str, Any] = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
                        "intermediate_size": 2048, "layer_norm_eps": 1e-5, "max_position_embeddings": 77}  # fmt: skip
"""What a config.json leaves out where it is the default of `transformers`, which is ViT-B/32."""

OUTSIDE = {
    "vision_model.embeddings.patch_embedding.weight": ("encoder", "stem.weight"),
    "vision_model.embeddings.class_embedding": ("encoder", "class_token"),
    "vision_model.embeddings.position_embedding.weight": ("encoder", "positions"),
    "vision_model.pre_layrnorm.weight": ("encoder", "initial_norm.weight"),
    "vision_model.pre_layrnorm.bias": ("encoder", "initial_norm.bias"),
    "vision_model.post_layernorm.weight": ("encoder", "norm.weight"),
    "vision_model.post_layernorm.bias": ("encoder", "norm.bias"),
    "visual_projection.weight": ("connector", "projection.weight"),
    "text_model.embeddings.token_embedding.weight": ("backbone", "embedding.weight"),
    "text_model.embeddings.position_embedding.weight": ("backbone", "positions.weight"),
    "text_model.final_layer_norm.weight": ("backbone", "norm.weight"),
    "text_model.final_layer_norm.bias": ("backbone", "norm.bias"),
    "text_projection.weight": ("head", "projection.weight"),
    "logit_scale": ("head", "logit_scale"),
}


def clip_config(architecture: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parts of a `ModelConfig` for a `transformers` CLIPConfig and its preprocessor config, given as plain data:
    all but the tokenizer and the chat template."""
    vision, text = VISION | dict(architecture["vision_config"]), TEXT | dict(architecture["text_config"])
    given = preprocessor or {}
    return {
        "encoder": {
            "type": "vit",
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            **blocks(vision, "quick_gelu"),
            "stem": "patch",
            "stem_bias": False,
            "class_token": True,
            "initial_norm": True,
            "mean": tuple(given.get("image_mean", CLIP_MEAN)),
            "std": tuple(given.get("image_std", CLIP_STD)),
        },
        "tiling": {"type": "whole", "fit": "crop"},
        "connector": {"type": "class-token"},
        "fusion": {"type": "towers", "joint_dim": architecture.get("projection_dim", 512)},
        "backbone": {
            "type": "text-tower",
            "positions": text["max_position_embeddings"],
            **blocks(text, "quick_gelu"),
        },
        "head": {"type": "embedding"},
        "context": text["max_position_embeddings"],
    }
