"""GGUF files (llama.cpp): read to plain float32 tensors under the names of `transformers`' Llama.

The architecture comes back as the keys of a `transformers` config, so that `sensorium.interop.llama` and the Hugging
Face wrapper read a GGUF file and a folder alike.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.assets import need
from sensorium.errors import ConfigError

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF tensor names and what `transformers` calls them, without `blk.N.` and `.weight`."""

SKIPPED = {"rope_freqs"}
"""Tensors that are derived from the config and not learned."""


def gguf_architecture(file: Path) -> dict[str, Any]:
    """The keys of a `transformers` LlamaConfig; a `ConfigError` for another architecture."""
    field, tensors = _reader(file).get_field, _reader(file).tensors
    found = field("general.architecture").contents()
    if found != "llama":
        raise ConfigError(f"{file}: the architecture is '{found}'; only 'llama' is read, convert it with transformers")
    if any(field(f"llama.rope.scaling.{key}") for key in ("type", "factor")):
        raise ConfigError(f"{file}: has scaled rotary positions, which are not read; convert it with transformers")

    def value(key: str) -> Any:
        entry = field(f"llama.{key}")
        if entry is None:
            raise ConfigError(f"{file}: has no metadata key llama.{key}; the file is not whole")
        return entry.contents()

    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": int(next(t for t in tensors if t.name == "token_embd.weight").shape[1]),
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": value("attention.head_count"),
        "num_key_value_heads": value("attention.head_count_kv"),
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": round(value("attention.layer_norm_rms_epsilon"), 12),
        "rope_theta": value("rope.freq_base"),
        "tie_word_embeddings": all(t.name != "output.weight" for t in tensors),
        "attention_bias": False,
        "mlp_bias": False,
    }


def read_gguf(file: Path) -> dict[str, Tensor]:
    """All learned tensors, dequantised to float32, named and laid out as in `transformers`' LlamaForCausalLM.

    llama.cpp interleaves the two halves of rotary heads; queries and keys are put back (its `convert_hf_to_gguf.py`,
    `LlamaModel.permute`). An unknown tensor is a `ConfigError`: nothing is dropped in silence.
    """
    need("gguf", "hf", "reading a GGUF file")
    import gguf

    architecture = gguf_architecture(file)
    heads = {"attn_q": architecture["num_attention_heads"], "attn_k": architecture["num_key_value_heads"]}
    state: dict[str, Tensor] = {}
    for tensor in _reader(file).tensors:
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", tensor.name)
        if match is None or match[2] not in NAMES:
            if tensor.name.split(".")[0] in SKIPPED:
                continue
            raise ConfigError(f"{file}: unknown tensor '{tensor.name}'; convert the file with transformers")
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if match[2] in heads:
            values = _unpermute(values, heads[match[2]])
        prefix = f"model.layers.{match[1]}." if match[1] else ""
        state[f"{prefix}{NAMES[match[2]]}.weight"] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def _unpermute(values: np.ndarray, num_heads: int) -> np.ndarray:
    rows, width = values.shape
    return values.reshape(num_heads, rows // num_heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


@lru_cache(maxsize=2)
def _reader(file: Path) -> Any:
    need("gguf", "hf", "reading a GGUF file")
    import gguf

    class Reader(gguf.GGUFReader):
        """Takes a slice of the file for every token of the vocabulary; one of a memmap takes four times as long."""

        @property
        def data(self) -> np.ndarray:
            return self._data

        @data.setter
        def data(self, mapped: np.ndarray) -> None:
            self._data = np.asarray(mapped)

    try:
        return Reader(file)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file}: not a readable GGUF file ({error})") from None
