"""Mono-InternVL (2410.08202) as its authors' code saves it: InternLM2, whose layers have a second feed-forward for
patches, under the keys of InternVL's chat models.

InternLM2 is a Llama; its queries, keys and values are stored in one matrix, head by head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.rules import DERIVED, Packed, Rule, Table, prefixes
from sensorium.families.sizes import shape_of
from sensorium.families.templates import token_of
from sensorium.interop.means import IMAGENET_MEAN, IMAGENET_STD
from sensorium.model import ModelConfig
from sensorium.template import ChatTemplate, Turn

LANGUAGE, VISION = "language_model.", "vision_model.embeddings."
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads", "max_position_embeddings", "rms_norm_eps")  # fmt: skip
FIXED = {"ps_version": "v2", "downsample_ratio": 0.5, "use_thumbnail": True, "pad2square": False}
"""What is read of the settings of InternVL's chat models."""
SYSTEM = "You are an AI assistant whose name is InternLM (书生·浦语)."
"""What opens conversations; its literal text is part of the format."""


class MonoInternVL(Family):
    what = "Mono-InternVL v1 as its authors' code saves it"
    model_types = ("internvl_chat",)

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, where = folder.settings, str(folder.path)
        language = _language(settings, where)
        _check(settings, where)
        width, _, patch, _ = shape_of(folder.tensors(), f"{VISION}patch_embedding.weight", where)
        places = shape_of(folder.tensors(), f"{VISION}position_embedding", where)[1] - 1
        side = patch * round(places**0.5)
        if settings.get("force_image_size") not in (None, side):
            raise ConfigError(f"{where}: force_image_size is {settings['force_image_size']}, positions are for {side}")
        cells = {"min_cells": settings.get("min_dynamic_patch", 1), "max_cells": settings.get("max_dynamic_patch", 12)}
        return {
            "encoder": {
                "type": "vit", "image_size": side, "patch_size": patch, "width": width, "depth": 0, "num_heads": 1,
                "stem": "patch", "class_token": True, "final_norm": False, "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
            },
            "tiling": {"type": "aspect", **cells} if settings.get("dynamic_image_size") else "whole",
            "connector": {"type": "pixel-shuffle", "scale": 2, "depth": 2, "norm": True},
            "assembly": {"type": "tiles", "positions": False},
            "fusion": {"type": "modality-experts", "modules": ("mlp",)},
            "backbone": {"type": "hf", "architecture": language},
            "tokenizer": {"type": "hf", "path": where},
            "template": _template(folder).to_dict(),
            "context": language["max_position_embeddings"],
        }  # fmt: skip

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        architecture = config.backbone.architecture  # pyright: ignore[reportAttributeAccessIssue]
        layer, ours = f"{LANGUAGE}model.layers.{{}}.", "backbone.model.model.layers.{}."
        names = {"attention.wo": "self_attn.o_proj", "attention_norm": "input_layernorm",
                 "ffn_norm": "post_attention_layernorm"}  # fmt: skip
        names |= {f"feed_forward.{theirs}": f"mlp.{name}" for theirs, name in GATED.items()}
        rules = (
            Rule(f"{VISION}class_embedding", "encoder.class_token"),
            Rule(f"{VISION}position_embedding", "encoder.positions"),
            *prefixes({f"{VISION}patch_embedding.": "encoder.stem.", "mlp1.": "connector.layers."}),
            *prefixes({f"{layer}{theirs}.": f"{ours}{name}." for theirs, name in names.items()}),
            *prefixes({f"{layer}feed_forward_ve.{theirs}.": f"fusion.twins.{{}}-mlp.{name}."
                       for theirs, name in GATED.items()}),
            *prefixes({f"{LANGUAGE}model.tok_embeddings.": "backbone.model.model.embed_tokens.",
                       f"{LANGUAGE}model.norm.": "backbone.model.model.norm.",
                       f"{LANGUAGE}output.": "backbone.model.lm_head."}),
        )  # fmt: skip
        heads, groups = architecture["num_attention_heads"], architecture["num_key_value_heads"]

        def unpack(value: Tensor, what: str) -> Sequence[Tensor]:
            return unpacked(value, heads, groups, what)

        three = tuple(f"{ours}self_attn.{part}_proj.weight" for part in "qkv")
        return Table(rules, DERIVED, (Packed(f"{layer}attention.wqkv.weight", three, unpack),))


GATED = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def unpacked(value: Tensor, heads: int, groups: int, what: str) -> tuple[Tensor, Tensor, Tensor]:
    """InternLM2's `wqkv` as matrices of queries, keys and values. For each of the `groups` of heads that share keys,
    its queries come first, then its key, then its value; `what` is named in a `ConfigError`."""
    if len(value) % (heads + 2 * groups):
        raise ConfigError(f"{what} has {len(value)} rows, expected a multiple of {heads} + 2 x {groups} heads")
    packed = value.unflatten(0, (groups, heads // groups + 2, -1))
    return packed[:, :-2].flatten(0, 2), packed[:, -2].flatten(0, 1), packed[:, -1].flatten(0, 1)


def _language(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """InternLM2's settings as those of a Llama."""
    given = settings.get("llm_config") or {}
    if (kind := (given.get("architectures") or [""])[0]) != "InternLM2VEForCausalLM":
        raise ConfigError(f"{where}: its language model is '{kind}'; of InternVL's models only Mono-InternVL is read")
    if missing := [key for key in SIZES if key not in given]:
        raise ConfigError(f"{where}: llm_config has no {', '.join(missing)}; fetch config.json again")
    scaling = given.get("rope_scaling") or {"type": "dynamic"}  # which begins beyond max_position_embeddings
    if given.get("bias", True) or given.get("hidden_act", "silu") != "silu" or scaling.get("type") != "dynamic":
        raise ConfigError(f"{where}: llm_config has bias, another hidden_act than silu, or positions scaled throughout")
    return {
        "model_type": "llama",
        **{key: given[key] for key in SIZES},
        "rope_parameters": {"rope_type": "default", "rope_theta": float(given.get("rope_theta", 10_000))},
        "tie_word_embeddings": False,
    }


def _check(settings: dict[str, Any], where: str) -> None:
    vision = (settings.get("vision_config") or {}).get("model_type")
    if vision != "intern_vit_patch":
        raise ConfigError(f"{where}: its vision_config is '{vision}'; Mono-InternVL has 'intern_vit_patch', no encoder")
    for key, value in FIXED.items():
        if settings.get(key, "v1" if key == "ps_version" else value) != value:
            raise ConfigError(f"{where}: {key} is {settings.get(key, 'v1')!r}; what is read has {value!r}")


def _template(folder: Folder) -> ChatTemplate:
    """InternLM2's, which is ChatML without line ends behind turns."""
    roles = {r: Turn(prefix=f"<|im_start|>{r}\n", end="<|im_end|>") for r in ("system", "user", "assistant")}
    return ChatTemplate(
        document=Turn(end="</s>"), image="<IMG_CONTEXT>", before_image="<img>", after_image="</img>\n",
        begin=token_of(folder.json("tokenizer_config.json"), "bos_token"), default_system=SYSTEM,
    ).model_copy(update=roles)  # fmt: skip


@family
def mono_internvl() -> Family:
    """Mono-InternVL v1."""
    return MonoInternVL()
