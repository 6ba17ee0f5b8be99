"""What CLIP's and SigLIP's towers share in `transformers`: dimensions of their blocks, names of their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import ConfigError

LAYER = {
    "layer_norm1": "attention_norm",
    "self_attn.out_proj": "out",
    "layer_norm2": "mlp_norm",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
QKV = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}
ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu-tanh", "gelu_new": "gelu-tanh", "quick_gelu": "quick-gelu"}


def activation(architecture: Mapping[str, object], default: str) -> str:
    """Our name of an architecture's activation."""
    found = str(architecture.get("hidden_act", default))
    if found not in ACTIVATIONS:
        raise ConfigError(f"hidden_act is '{found}'; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[found]


def blocks(architecture: Mapping[str, Any], default_activation: str) -> dict[str, Any]:
    """Our dimensions of a tower's blocks, the same keys for `vit` and `text-tower`."""
    width = architecture["hidden_size"]
    return {
        "width": width,
        "depth": architecture["num_hidden_layers"],
        "num_heads": architecture["num_attention_heads"],
        "mlp_ratio": architecture["intermediate_size"] / width,
        "activation": activation(architecture, default_activation),
        "norm_eps": architecture["layer_norm_eps"],
    }
