"""What CLIP's and SigLIP's towers share in `transformers`: the names of a block's tensors."""

from __future__ import annotations

from collections.abc import Mapping

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
