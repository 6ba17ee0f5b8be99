"""`transformers`' BLIP-2 as our Q-Former: its config, and its weights with every key accounted for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import ConfigError

LAYER = {
    "attention.attention.query": "attention.q",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention.norm",
    "crossattention.attention.query": "looking.q",
    "crossattention.output.dense": "looking.out",
    "crossattention.output.LayerNorm": "looking.norm",
    "intermediate_query.dense": "feed_forward.up",
    "output_query.dense": "feed_forward.down",
    "output_query.LayerNorm": "feed_forward.norm",
}
STACKED = {
    "attention.attention.key": ("attention.kv", 0),
    "attention.attention.value": ("attention.kv", 1),
    "crossattention.attention.key": ("looking.kv", 0),
    "crossattention.attention.value": ("looking.kv", 1),
}
TEXT_LAYER = {"intermediate.dense": "up", "output.dense": "down", "output.LayerNorm": "norm"}
OUTSIDE = {
    "query_tokens": "queries",
    "qformer.layernorm": "norm",
    "language_projection": "projection",
    "embeddings.word_embeddings": "text.embedding",
    "embeddings.position_embeddings": "text.positions",
    "vision_projection": "text.picture_projection",
    "text_projection": "text.text_projection",
    "itm_head": "text.match",
}
ELSEWHERE = ("vision_model.", "language_model.")
DERIVED = ("position_ids",)
READS, WRITES = 101, 30522
"""BERT's [CLS], and [DEC], which BLIP-2 appended to BERT's vocabulary."""


def q_former_config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The `q-former` connector config for a `transformers` Blip2Config, given as plain data."""
    inner = dict(architecture.get("qformer_config") or {})
    if (found := inner.get("hidden_act", "gelu")) != "gelu":
        raise ConfigError(f"qformer_config.hidden_act is '{found}'; our Q-Former has 'gelu'")
    width = inner.get("hidden_size", 768)
    return {
        "type": "q-former",
        "queries": architecture.get("num_query_tokens", 32),
        "width": width,
        "depth": inner.get("num_hidden_layers", 12),
        "num_heads": inner.get("num_attention_heads", 12),
        "mlp_ratio": inner.get("intermediate_size", 3072) / width,
        "cross_every": inner.get("cross_attention_frequency", 2),
        "norm_eps": inner.get("layer_norm_eps", 1e-12),
        "dropout": inner.get("hidden_dropout_prob", 0.1),
        "text": bool(inner.get("use_qformer_text_input", False)),
        "positions": inner.get("max_position_embeddings", 512),
        "joint_dim": architecture.get("image_text_hidden_size", 256),
    }


def q_former_tensors(state: Mapping[str, Tensor], reads: int = READS, writes: int = WRITES) -> dict[str, Tensor]:
    """The tensors of a `Blip2ForConditionalGeneration` or `Blip2ForImageTextRetrieval` under our names, those of the
    vision and the language model left out. An unknown key is a `ConfigError`.

    `reads` and `writes` are the tokens that open a text to be read and to be written. With us they are the last two, so
    the embeddings are those of the vocabulary without `writes`, its last, then both.
    """
    ours: dict[str, Tensor] = {}
    stacked: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        if key.startswith(ELSEWHERE) or key.endswith(DERIVED):
            continue
        name, place = _placed(key)
        if place is None:
            ours[name] = value
        else:
            stacked.setdefault(name, {})[place] = value
    for name, two in stacked.items():
        if len(two) < 2:
            raise ConfigError(f"'{name}' needs key and value; the weights have only one of them")
        ours[name] = torch.cat([two[0], two[1]])
    ours["queries"] = ours["queries"].squeeze(0)
    if (words := ours.get("text.embedding.weight")) is not None:
        ours["text.embedding.weight"] = torch.cat([words[:writes], words[[reads, writes]]])
    return ours


def _placed(key: str) -> tuple[str, int | None]:
    """Our name of a tensor; for one of key and value also its place in our stacked projection."""
    if key in OUTSIDE:
        return OUTSIDE[key], None
    stem, _, kind = key.rpartition(".")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{kind}", None
    match = re.fullmatch(r"qformer\.encoder\.layer\.(\d+)\.(.+)", stem)
    if match is not None:
        number, inner = match.groups()
        if inner in TEXT_LAYER:
            return f"text.feed_forwards.{number}.{TEXT_LAYER[inner]}.{kind}", None
        if inner in LAYER:
            return f"layers.{number}.{LAYER[inner]}.{kind}", None
        if inner in STACKED:
            name, place = STACKED[inner]
            return f"layers.{number}.{name}.{kind}", place
    raise ConfigError(f"unknown key '{key}': it is not of a BLIP-2 model of transformers")
