"""open_clip's CLIP as our towers: its open_clip_config.json as our configs, and the names of its tensors.

The layout of OpenAI's CLIP, LAION's, DataComp's and DFN's weights (arXiv 2103.00020, 2212.07143, 2309.17425). Towers
that come from timm or from a text model of Hugging Face have layouts of their own, and are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.assets import find_file
from sensorium.config import nearest
from sensorium.errors import ConfigError
from sensorium.interop.means import CLIP_MEAN, CLIP_STD

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")

MODEL: dict[str, Any] = {"embed_dim": None, "vision_cfg": None, "text_cfg": None, "quick_gelu": False}
VISION: dict[str, Any] = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16,
                          "image_size": 224}  # fmt: skip
TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12,
                        "mlp_ratio": 4.0}  # fmt: skip
"""What is read, and what stands there if a config leaves it out."""

UNUSED = ("custom_text", "output_dict", "output_tokens", "init_logit_scale", "patch_dropout", "pad_id", "eos_id",
          "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "timm_", "attn_pooler_", "hf_")  # fmt: skip
"""Beginnings of keys that change no number: of names, of training, and of towers that are refused anyway."""
PLAIN: dict[str, Any] = {
    "timm_model_name": None, "hf_model_name": None, "multimodal_cfg": None, "init_logit_bias": None,
    "nonscalar_logit_scale": False, "ls_init_value": None, "attentional_pool": False, "no_ln_pre": False,
    "pos_embed_type": "learnable", "final_ln_after_pool": False, "embed_cls": False, "no_causal_mask": False,
    "proj_bias": False, "proj_type": "linear", "act_kwargs": None, "norm_kwargs": None, "block_type": None,
    "qk_norm": False, "scaled_cosine_attn": False, "scale_heads": False, "scale_attn_inner": False,
    "scale_attn": False, "scale_fc": False,
}  # fmt: skip
"""What our towers have no other way for."""
POOLS = {"vision_cfg": "tok", "text_cfg": "argmax"}

BLOCK = {"ln_1.": "attention_norm.", "attn.in_proj_": "qkv.", "attn.out_proj.": "out.", "ln_2.": "mlp_norm.",
         "mlp.c_fc.": "up.", "mlp.c_proj.": "down."}  # fmt: skip
VIT = {"conv1.weight": "stem.weight", "class_embedding": "class_token", "positional_embedding": "positions",
       "ln_pre.": "initial_norm.", "ln_post.": "norm."}  # fmt: skip
WORDS = {"token_embedding.weight": "embedding.weight", "positional_embedding": "positions.weight",
         "ln_final.": "norm."}  # fmt: skip
"""How names of tensors begin, there and with us: in blocks `transformer.resblocks.N.`, and outside of them."""
BLOCKS = "transformer.resblocks."


def read_config(path: str) -> dict[str, Any]:
    """The open_clip_config.json of a folder."""
    file = find_file(path, CONFIG)
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); fetch the file again") from None


def vision_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `vit` or `modified-resnet` encoder of an open_clip_config.json, given as plain data."""
    model = chosen(settings.get("model_cfg") or {}, MODEL, "model_cfg")
    tower, pixels = chosen(model["vision_cfg"] or {}, VISION, "vision_cfg"), settings.get("preprocess_cfg") or {}
    colours = {"mean": tuple(pixels.get("mean", CLIP_MEAN)), "std": tuple(pixels.get("std", CLIP_STD))}
    side, width = tower["image_size"], tower["width"]
    if isinstance(side, list):
        if len(set(side)) != 1:
            raise ConfigError(f"vision_cfg.image_size is {side}; our towers read squares")
        side = side[0]
    if isinstance(tower["layers"], list):
        return {"type": "modified-resnet", "image_size": side, "width": width, "layers": tower["layers"], **colours}
    return {
        "type": "vit",
        "image_size": side,
        "patch_size": tower["patch_size"],
        "width": width,
        "depth": tower["layers"],
        "num_heads": width // tower["head_width"],
        "mlp_ratio": int(width * tower["mlp_ratio"]) / width,
        "stem": "patch",
        "stem_bias": False,
        "class_token": True,
        "initial_norm": True,
        "activation": activation(model),
        "norm_eps": 1e-5,
        **colours,
    }


def text_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `text-tower` of an open_clip_config.json, given as plain data."""
    model = chosen(settings.get("model_cfg") or {}, MODEL, "model_cfg")
    tower = chosen(model["text_cfg"] or {}, TEXT, "text_cfg")
    width = tower["width"]
    return {
        "type": "text-tower",
        "width": width,
        "depth": tower["layers"],
        "num_heads": tower["heads"],
        "mlp_ratio": int(width * tower["mlp_ratio"]) / width,
        "positions": tower["context_length"],
        "activation": activation(model),
        "norm_eps": 1e-5,
    }


def activation(model: Mapping[str, Any]) -> str:
    return "quick-gelu" if model["quick_gelu"] else "gelu"


def chosen(given: Mapping[str, Any], read: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is read of a part of the config, with defaults. A `ConfigError` names a key that our towers cannot obey."""
    plain = PLAIN | ({"pool_type": POOLS[where]} if where in POOLS else {})
    for key, value in given.items():
        if key in read or (key.startswith(UNUSED) and key not in plain):
            continue
        if key not in plain:
            raise ConfigError(f"{CONFIG}: unknown key {where}.{key}: {nearest(key, {**read, **plain})}")
        if value != plain[key]:
            raise ConfigError(f"{CONFIG}: {where}.{key} is {value!r}, our towers have {plain[key]!r}; not supported")
    return {key: default if given.get(key) is None else given[key] for key, default in read.items()}


def vision_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the vision tower under the names of our `vit`, without the projection behind it. A key of it that
    is not known is a `ConfigError`; the text tower's are passed over."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("visual.") and key != "visual.proj":
            found[_ours(key.removeprefix("visual."))] = value
    if not found:
        raise ConfigError("the weights have no tensor 'visual.*'; they are not in open_clip's layout")
    for name, lead in (("class_token", (1, 1)), ("positions", (1,))):
        if name in found:
            found[name] = found[name].reshape(*lead, *found[name].shape)
    return found


def _ours(key: str) -> str:
    number, dot, rest = key.removeprefix(BLOCKS).partition(".")
    inside = key.startswith(BLOCKS) and dot == "."
    names, name = (BLOCK, rest) if inside else (VIT, key)
    start = next((start for start in names if name.startswith(start)), None)
    if start is None:
        raise ConfigError(f"unknown key 'visual.{key}': {nearest(name, names)}")
    return (f"blocks.{number}." if inside else "") + names[start] + name.removeprefix(start)
