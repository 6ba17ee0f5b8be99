"""`transformers`' SigLIP as our two towers: its config, and the names of its tensors outside of the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import ConfigError
from sensorium.interop.towers import blocks

HALF = (0.5, 0.5, 0.5)
VISION: dict[str, Any] = {"image_size": 224, "patch_size": 16, "hidden_size": 768, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "intermediate_size": 3072, "layer_norm_eps": 1e-6}  # fmt: skip
TEXT: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                        "intermediate_size": 3072, "layer_norm_eps": 1e-6, "max_position_embeddings": 64}  # fmt: skip
"""What a config.json leaves out where it is the default of `transformers`, which is B/16."""

HEAD = "vision_model.head"
MAP_HEAD = ("num_heads", "mlp_ratio", "activation", "norm_eps")
"""What its pooling head has from the blocks before it."""
OUTSIDE = {
    "vision_model.embeddings.patch_embedding.weight": ("encoder", "stem.weight"),
    "vision_model.embeddings.patch_embedding.bias": ("encoder", "stem.bias"),
    "vision_model.embeddings.position_embedding.weight": ("encoder", "positions"),
    "vision_model.post_layernorm.weight": ("encoder", "norm.weight"),
    "vision_model.post_layernorm.bias": ("encoder", "norm.bias"),
    f"{HEAD}.probe": ("connector", "probe"),
    f"{HEAD}.attention.in_proj_weight": ("connector", "attention.in_proj_weight"),
    f"{HEAD}.attention.in_proj_bias": ("connector", "attention.in_proj_bias"),
    f"{HEAD}.attention.out_proj.weight": ("connector", "attention.out_proj.weight"),
    f"{HEAD}.attention.out_proj.bias": ("connector", "attention.out_proj.bias"),
    f"{HEAD}.layernorm.weight": ("connector", "norm.weight"),
    f"{HEAD}.layernorm.bias": ("connector", "norm.bias"),
    f"{HEAD}.mlp.fc1.weight": ("connector", "up.weight"),
    f"{HEAD}.mlp.fc1.bias": ("connector", "up.bias"),
    f"{HEAD}.mlp.fc2.weight": ("connector", "down.weight"),
    f"{HEAD}.mlp.fc2.bias": ("connector", "down.bias"),
    "text_model.embeddings.token_embedding.weight": ("backbone", "embedding.weight"),
    "text_model.embeddings.position_embedding.weight": ("backbone", "positions.weight"),
    "text_model.final_layer_norm.weight": ("backbone", "norm.weight"),
    "text_model.final_layer_norm.bias": ("backbone", "norm.bias"),
    "text_model.head.weight": ("head", "projection.weight"),
    "text_model.head.bias": ("head", "projection.bias"),
    "logit_scale": ("head", "logit_scale"),
    "logit_bias": ("head", "logit_bias"),
}


def siglip_config(architecture: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parts of a `ModelConfig` for a `transformers` SiglipConfig and its preprocessor config, given as plain data:
    all but the tokenizer and the chat template, whose documents must be filled up to as many tokens as there are
    positions (`template.document.length`), because SigLIP attends to padding and reads the last token of it."""
    vision, text = VISION | dict(architecture["vision_config"]), TEXT | dict(architecture["text_config"])
    joint = text.get("projection_size") or text["hidden_size"]
    if joint != vision["hidden_size"]:
        raise ConfigError(
            f"text_config.projection_size is {joint} and pictures have {vision['hidden_size']}: they cannot be compared"
        )
    given, seen = preprocessor or {}, blocks(vision, "gelu_pytorch_tanh")
    return {
        "encoder": {
            "type": "vit",
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            **seen,
            "stem": "patch",
            "mean": tuple(given.get("image_mean", HALF)),
            "std": tuple(given.get("image_std", HALF)),
        },
        "tiling": {"type": "whole"},
        "connector": {"type": "map-head", **{key: seen[key] for key in MAP_HEAD}},
        "fusion": {"type": "towers", "joint_dim": joint, "causal": False},
        "backbone": {
            "type": "text-tower",
            "positions": text["max_position_embeddings"],
            **blocks(text, "gelu_pytorch_tanh"),
        },
        "head": {"type": "embedding", "bias": True, "scale": 10, "max_scale": None, "logit_bias": -10},
        "context": text["max_position_embeddings"],
    }
