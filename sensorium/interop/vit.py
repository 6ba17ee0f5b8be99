"""Weights of `transformers`' ViT into our ViT: every key accounted for, a surprise is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.interop.fill import fill

if TYPE_CHECKING:
    from sensorium.encoders.vit import ViT

LAYER = {
    "layernorm_before": "attention_norm",
    "attention.o_proj": "out",
    "attention.output.dense": "out",
    "layernorm_after": "mlp_norm",
    "mlp.fc1": "up",
    "intermediate.dense": "up",
    "mlp.fc2": "down",
    "output.dense": "down",
}
"""Both generations of names: since version 5, and before (which is also how files are written)."""

QKV = {"q_proj": 0, "attention.query": 0, "k_proj": 1, "attention.key": 1, "v_proj": 2, "attention.value": 2}
OUTSIDE = {
    "embeddings.cls_token": "class_token",
    "embeddings.position_embeddings": "positions",
    "embeddings.patch_embeddings.projection.weight": "stem.weight",
    "embeddings.patch_embeddings.projection.bias": "stem.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
UNUSED = ("pooler.", "classifier.", "embeddings.mask_token")
"""What reads the features, and is no part of the encoder."""


def vit_config(architecture: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The `vit` encoder config for a `transformers` ViTConfig, and its preprocessor config, given as plain data."""
    for key, wanted in (("model_type", "vit"), ("hidden_act", "gelu"), ("qkv_bias", True), ("num_channels", 3)):
        if architecture.get(key, wanted) != wanted:
            raise ConfigError(f"architecture.{key} is {architecture[key]!r}, our ViT has {wanted!r}; use 'hf-vision'")
    half = (0.5, 0.5, 0.5)
    return {
        "type": "vit",
        "image_size": architecture["image_size"],
        "patch_size": architecture["patch_size"],
        "width": architecture["hidden_size"],
        "depth": architecture["num_hidden_layers"],
        "num_heads": architecture["num_attention_heads"],
        "mlp_ratio": architecture["intermediate_size"] / architecture["hidden_size"],
        "stem": "patch",
        "class_token": True,
        "norm_eps": architecture.get("layer_norm_eps", 1e-12),
        "mean": tuple((preprocessor or {}).get("image_mean", half)),
        "std": tuple((preprocessor or {}).get("image_std", half)),
    }


def load_vit(vit: ViT, state: Mapping[str, Tensor]) -> None:
    """Copy a `ViTModel` (or `ViTForImageClassification`) state dict into `vit`, which has a patch stem and a class
    token. A missing, unknown or misshapen key is a `ConfigError`."""
    ours: dict[str, Tensor] = {}
    stacked: dict[str, dict[int, Tensor]] = {}
    for full, value in state.items():
        key = full.removeprefix("vit.")
        if key.startswith(UNUSED):
            continue
        name, part = _rename(key)
        if part is None:
            ours[name] = value
        else:
            stacked.setdefault(name, {})[part] = value
    for name, parts in stacked.items():
        if len(parts) < 3:
            raise ConfigError(f"'{name}' needs query, key and value; the weights have only {len(parts)} of them")
        ours[name] = torch.cat([parts[i] for i in range(3)])
    fill(vit, ours, "the ViT")


def _rename(key: str) -> tuple[str, int | None]:
    """Our name of a tensor; for one of query, key, value also its place in our stacked projection."""
    if key in OUTSIDE:
        return OUTSIDE[key], None
    match = re.fullmatch(r"(?:encoder\.)?layers?\.(\d+)\.(.+)\.(weight|bias)", key)
    if match is None:
        raise ConfigError(f"unknown key '{key}': it is not of a ViTModel; use the encoder 'hf-vision'")
    layer, name, kind = match.groups()
    if name.startswith("attention.") and name.removeprefix("attention.") in QKV:
        return f"blocks.{layer}.qkv.{kind}", QKV[name.removeprefix("attention.")]
    if name not in LAYER:
        raise ConfigError(f"unknown key '{key}': it is not of a ViTModel; use the encoder 'hf-vision'")
    return f"blocks.{layer}.{LAYER[name]}.{kind}", None
