"""Llama-shaped weights of `transformers` into our decoder: every key accounted for, a surprise is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.interop.fill import fill

if TYPE_CHECKING:
    from sensorium.backbones.decoder import Decoder

LAYER = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "out",
    "post_attention_layernorm": "mlp_norm",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
OUTSIDE = {"model.embed_tokens.weight": "embedding.weight", "model.norm.weight": "norm.weight"}
DERIVED = "rotary_emb.inv_freq"


def decoder_config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The `decoder` backbone config for a `transformers` LlamaConfig given as plain data.

    A `ConfigError` for what our decoder does not do: biases, other activations, scaled rotary positions, heads of
    another size, an output layer of its own.
    """
    width, num_heads = architecture["hidden_size"], architecture["num_attention_heads"]
    rope = architecture.get("rope_parameters") or architecture.get("rope_scaling") or {}
    wanted = {
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": width // num_heads,
        "tie_word_embeddings": True,
    }
    absent = {"tie_word_embeddings": False}
    for key, value in wanted.items():
        found = architecture.get(key, absent.get(key, value))
        if found is not None and found != value:
            raise ConfigError(f"architecture.{key} is {found!r}, our decoder has {value!r}; use the backbone 'hf'")
    if rope.get("rope_type", "default") != "default":
        raise ConfigError(f"architecture has rope_type '{rope['rope_type']}', our decoder 'default'; use backbone 'hf'")
    return {
        "type": "decoder",
        "width": width,
        "depth": architecture["num_hidden_layers"],
        "num_heads": num_heads,
        "num_kv_heads": architecture.get("num_key_value_heads") or num_heads,
        "mlp_width": architecture["intermediate_size"],
        "rope_theta": architecture.get("rope_theta") or rope.get("rope_theta", 10_000.0),
        "norm_eps": architecture["rms_norm_eps"],
    }


def load_llama(decoder: Decoder, state: Mapping[str, Tensor]) -> None:
    """Copy a `LlamaForCausalLM` state dict into `decoder`. A missing, unknown or misshapen key is a `ConfigError`."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(DERIVED):
            continue
        if key == "lm_head.weight":
            if not torch.equal(value, state["model.embed_tokens.weight"]):
                raise ConfigError("lm_head.weight differs from the embedding and our decoder ties them; use 'hf'")
            continue
        ours[_rename(key)] = value
    fill(decoder, ours, "the decoder")


def _rename(key: str) -> str:
    if key in OUTSIDE:
        return OUTSIDE[key]
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", key)
    if match is None or match[2] not in LAYER:
        raise ConfigError(f"unknown key '{key}': it is not of a Llama model without biases; use the backbone 'hf'")
    return f"blocks.{match[1]}.{LAYER[match[2]]}.weight"
