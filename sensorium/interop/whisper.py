"""Whisper's encoder as CTranslate2 keeps it, under the names that it has in transformers."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from torch import Tensor

from sensorium.assets import find_file, has_file
from sensorium.errors import ConfigError
from sensorium.interop.ctranslate2 import read_ctranslate2

NAMES = {
    "position_encodings.encodings": "embed_positions.weight",
    "self_attention.layer_norm": "self_attn_layer_norm",
    "self_attention.linear_1": "self_attn.out_proj",
    "ffn.layer_norm": "final_layer_norm",
    "ffn.linear_0": "fc1",
    "ffn.linear_1": "fc2",
    ".gamma": ".weight",
    ".beta": ".bias",
}
"""Parts of names of CTranslate2, with dots, and what stands for them in transformers."""
QKV = "self_attention.linear_0"


def is_ctranslate2(path: str) -> bool:
    """Whether `path` (a folder or `package:NAME`) holds a file of CTranslate2 and none of transformers."""
    return has_file(path, "model.bin") and not has_file(path, ".safetensors")


@cache
def whisper_architecture(path: str) -> dict[str, Any]:
    """The encoder's dimensions, for which the file is read once."""
    arrays = _arrays(path)
    ends = "/ffn/linear_0/bias"
    try:
        width, bins, _ = arrays["encoder/conv1/weight"].shape
        return {
            "model_type": "whisper",
            "d_model": width,
            "num_mel_bins": bins,
            "max_source_positions": len(arrays["encoder/position_encodings/encodings"]),
            "encoder_attention_heads": int(arrays["encoder/num_heads"]),
            "encoder_ffn_dim": len(arrays[f"encoder/layer_0{ends}"]),
            "encoder_layers": sum(name.startswith("encoder/layer_") and name.endswith(ends) for name in arrays),
        }
    except KeyError as error:
        raise ConfigError(f"{path}: has no array {error}; convert the model again") from None


def whisper_encoder(path: str) -> dict[str, Tensor]:
    """The encoder's weights. Queries, keys and values are one matrix in the file, and the bias of keys, which Whisper
    has none of, is zero. A `ConfigError` for weights that are quantised."""
    state = {}
    for name, array in _arrays(path).items():
        side, _, key = name.replace("/", ".").partition(".")
        if side != "encoder" or array.ndim == 0:
            continue
        if not array.is_floating_point():
            raise ConfigError(f"{path}: {name} is quantised; convert the model with --quantization float16")
        key = re.sub(r"^layer_(\d+)", r"layers.\1", key)
        for theirs, ours in NAMES.items():
            key = key.replace(theirs, ours)
        if QKV not in key:
            state[key] = array
            continue
        for letter, part in zip("qkv", array.chunk(3), strict=True):
            if (letter, part.ndim) != ("k", 1):
                state[key.replace(QKV, f"self_attn.{letter}_proj")] = part
    return state


def _arrays(path: str) -> dict[str, Tensor]:
    return read_ctranslate2(find_file(path, "model.bin"), "WhisperSpec")
