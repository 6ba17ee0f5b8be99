"""What CLIP's and SigLIP's towers share in `transformers`: the names of a block's tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.errors import ConfigError

LAYER = {
    "layer_norm1": "attention_norm",
    "self_attn.out_proj": "out",
    "layer_norm2": "mlp_norm",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
QKV = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}
Parts = dict[str, dict[str, Tensor]]
"""Tensors under our names, by the part of the model that they belong to."""


def sorted_out(state: Mapping[str, Tensor], outside: Mapping[str, tuple[str, str]], derived: tuple[str, ...]) -> Parts:
    """The tensors of a two-tower state dict by part. `outside` says of each key outside of the blocks which part and
    name it is, `derived` which endings are computed and not kept. An unknown key is a `ConfigError`."""
    parts: Parts = {"encoder": {}, "connector": {}, "backbone": {}, "head": {}}
    stacked: dict[tuple[str, str], dict[int, Tensor]] = {}
    for key, value in state.items():
        if key.endswith(derived):
            continue
        part, name, place = _placed(key, outside)
        if place is None:
            parts[part][name] = value
        else:
            stacked.setdefault((part, name), {})[place] = value
    for (part, name), three in stacked.items():
        if len(three) < 3:
            raise ConfigError(f"'{part}.{name}' needs q, k and v projections; the weights have only {len(three)}")
        parts[part][name] = torch.cat([three[i] for i in range(3)])
    return parts


def _placed(key: str, outside: Mapping[str, tuple[str, str]]) -> tuple[str, str, int | None]:
    """Part and name of a tensor with us; for one of q, k, v also its place in our stacked projection."""
    if key in outside:
        return *outside[key], None
    match = re.fullmatch(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
    if match is None or match[3] not in LAYER.keys() | QKV.keys():
        raise ConfigError(f"unknown key '{key}': it is not of a two-tower model of transformers of this kind")
    part = "encoder" if match[1] == "vision" else "backbone"
    name = "qkv" if match[3] in QKV else LAYER[match[3]]
    return part, f"blocks.{match[2]}.{name}.{match[4]}", QKV.get(match[3])


ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu-tanh", "gelu_new": "gelu-tanh", "quick_gelu": "quick-gelu"}


def activation(architecture: Mapping[str, object], default: str) -> str:
    """Our name of an architecture's activation."""
    found = str(architecture.get("hidden_act", default))
    if found not in ACTIVATIONS:
        raise ConfigError(f"hidden_act is '{found}'; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[found]
