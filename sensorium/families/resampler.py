"""The perceiver resampler as OpenFlamingo's code saves it, which xGen-MM's is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.families.rules import Rule, prefixes
from sensorium.families.sizes import count_of, shape_of, whole


def resampler(tensors: Mapping[str, Tensor], start: str, head_dim: int, where: str) -> dict[str, Any]:
    """The connector whose tensors begin with `start`; no tensor tells how wide its heads are."""
    first = f"{start}layers.0."
    latents, width = shape_of(tensors, f"{start}latents", where)
    inner = shape_of(tensors, f"{first}0.to_q.weight", where)[0]
    return {
        "type": "perceiver",
        "latents": latents,
        "depth": count_of(tensors, f"{start}layers."),
        "num_heads": whole(inner, head_dim, f"{first}0.to_q.weight", where),
        "head_dim": head_dim,
        "ff_ratio": whole(shape_of(tensors, f"{first}1.1.weight", where)[0], width, f"{first}1.1.weight", where),
        "projection": f"{start}projection.weight" in tensors,
    }


def resampler_rules(start: str) -> tuple[Rule, ...]:
    """Its tensors there and here."""
    layer, ours = f"{start}layers.{{}}.", "connector.layers.{}."
    attention = {"norm_media": "media_norm", "norm_latents": "latent_norm"}
    attention |= {name: name for name in ("to_q", "to_kv", "to_out")}
    names = {f"{layer}0.{theirs}.": f"{ours}{name}." for theirs, name in attention.items()}
    rules = prefixes({**names, f"{layer}1.": f"{ours}feed_forward."})
    outside = prefixes({f"{start}{name}.": f"connector.{name}." for name in ("norm", "projection", "text_projection")})
    return (Rule(f"{start}latents", "connector.latents"), *rules, *outside)
