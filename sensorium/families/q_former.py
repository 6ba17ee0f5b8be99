"""The Q-Former of BLIP-2 as `transformers` has it: its config and the names of its tensors, there and with us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.connectors.q_former import QFormer
from sensorium.errors import ConfigError
from sensorium.families.rules import Rule

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
STACKED = {"attention": "attention.kv", "crossattention": "looking.kv"}
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def q_former_config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The `q-former` connector config for a `transformers` Blip2Config, given as plain data, without a text side."""
    inner = dict(architecture.get("qformer_config") or {})
    if (found := inner.get("hidden_act", "gelu")) != "gelu":
        raise ConfigError(f"qformer_config.hidden_act is '{found}'; our Q-Former has 'gelu'")
    dropout, other = (inner.get(key, 0.1) for key in DROPOUTS)
    if dropout != other:
        raise ConfigError(f"qformer_config.{DROPOUTS[1]} is {other} and {DROPOUTS[0]} {dropout}; our Q-Former has one")
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
        "dropout": dropout,
        "positions": inner.get("max_position_embeddings", 512),
        "joint_dim": architecture.get("image_text_hidden_size", 256),
    }


def q_former_settings(config: QFormer.Config, media_width: int) -> dict[str, Any]:
    """The inverse: what a Blip2Config says of a Q-Former that looks at features of `media_width`."""
    return {
        "num_query_tokens": config.queries,
        "image_text_hidden_size": config.joint_dim,
        "qformer_config": {
            "model_type": "blip_2_qformer",
            "hidden_size": config.width,
            "num_hidden_layers": config.depth,
            "num_attention_heads": config.num_heads,
            "intermediate_size": round(config.width * config.mlp_ratio),
            "hidden_act": "gelu",
            "cross_attention_frequency": config.cross_every,
            "encoder_hidden_size": media_width,
            "layer_norm_eps": config.norm_eps,
            "max_position_embeddings": config.positions,
            "use_qformer_text_input": False,
            **dict.fromkeys(DROPOUTS, config.dropout),
        },
    }


def q_former_rules() -> tuple[Rule, ...]:
    """What the queries read with, and the projection behind them."""
    layer, ours = "qformer.encoder.layer.{}", "connector.layers.{}"
    return (
        Rule("query_tokens", "connector.queries", lead=-1),
        Rule("qformer.layernorm.{}", "connector.norm.{}"),
        Rule("language_projection.{}", "connector.projection.{}"),
        *(Rule(f"{layer}.{a}.{{}}", f"{ours}.{b}.{{}}") for a, b in LAYER.items()),
        *(
            Rule(f"{layer}.{a}.attention.{name}.{{}}", f"{ours}.{b}.{{}}", place=(number, 2))
            for a, b in STACKED.items()
            for number, name in enumerate(("key", "value"))
        ),
    )
