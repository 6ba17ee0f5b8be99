"""Pre-trained models of Hugging Face: their architecture as plain data, their weights without pickle."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from sensorium.assets import find_file, has_file, need
from sensorium.errors import ConfigError
from sensorium.interop.gguf import gguf_architecture, read_gguf
from sensorium.interop.whisper import is_ctranslate2, whisper_architecture, whisper_encoder


def is_gguf(path: str) -> bool:
    """Whether `path` (a file, a folder or `package:NAME`) leads to a GGUF file."""
    return path.endswith(".gguf") or has_file(path, ".gguf")


def read_architecture(path: str) -> dict[str, Any]:
    """The `transformers` config of a folder (its config.json), of a GGUF file or of a Whisper of CTranslate2, as plain
    data."""
    if is_gguf(path):
        return gguf_architecture(find_file(path, ".gguf"))
    if is_ctranslate2(path):
        return whisper_architecture(path)
    file = find_file(path, "config.json")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); save the model again with save_pretrained") from None


HEAD = 32
"""Heads of a narrowed model are at most this wide, unless their positions turn by numbers given for each feature."""


def narrowed(architecture: dict[str, Any]) -> dict[str, Any]:
    """With few narrow heads: one group of those that share keys and values, else two."""
    heads, width = architecture.get("num_attention_heads", 0), architecture.get("hidden_size", 0)
    groups = heads // (architecture.get("num_key_value_heads") or heads or 1)
    few = groups if groups > 1 else 2
    head = architecture.get("head_dim") or width // max(heads, 1)
    turned = (architecture.get(key) or {} for key in ("rope_scaling", "rope_parameters"))
    if not any(isinstance(value, list) for turns in turned for value in turns.values()):
        head = min(head, HEAD)
    narrow = few * head
    if not 0 < narrow < width:
        return architecture
    sizes = {"num_attention_heads": few, "num_key_value_heads": few // groups, "head_dim": head,
             "hidden_size": narrow, "word_embed_proj_dim": narrow}  # fmt: skip
    sizes |= {k: -(-architecture[k] * narrow // width) for k in ("intermediate_size", "ffn_dim") if k in architecture}
    return architecture | {key: size for key, size in sizes.items() if key in architecture}


def make_config(architecture: dict[str, Any], what: str) -> Any:
    """A `transformers` config object from plain data; `what` names the part in the error if the library is missing."""
    need("transformers", "hf", what)
    from transformers import AutoConfig

    data = dict(architecture)
    kind = data.pop("model_type", None)
    if kind is None:
        raise ConfigError(f"{what}: architecture has no model_type; set path to a folder with a config.json")
    try:
        return AutoConfig.for_model(kind, **data)
    except ValueError:
        raise ConfigError(f"{what}: this version of transformers does not know model_type '{kind}'") from None


def fill(model: Any, path: str, what: str, renamed: dict[str, str] | None = None) -> None:
    """Fill a `transformers` model with the weights at `path`. A tensor of the model without a source is a
    `ConfigError`; what the file has beyond the model (a classifier, a text tower) is left. `renamed` are patterns of
    names and what stands in their stead, where the model is part of a larger one that transformers does not know."""
    if is_gguf(path):
        state = read_gguf(find_file(path, ".gguf"))
    else:
        state = whisper_encoder(path) if is_ctranslate2(path) else _read_folder(model, path, what, renamed)
    own: dict[str, Tensor] = model.state_dict()
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    for key in own:
        if key not in state and key not in tied:
            raise ConfigError(f"{what}: {path} has no tensor '{key}'; the weights are of another architecture")
        if key in state and state[key].shape != own[key].shape:
            found, wanted = list(state[key].shape), list(own[key].shape)
            raise ConfigError(f"{what}: '{key}' of {path} has shape {found}, the architecture needs {wanted}")
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _read_folder(model: Any, path: str, what: str, renamed: dict[str, str] | None) -> dict[str, Tensor]:
    """The tensors that the folder really has for a model of this type, under the model's own names."""
    loaded, info = type(model).from_pretrained(
        path, config=model.config, dtype=model.dtype, use_safetensors=True, local_files_only=True,
        output_loading_info=True, ignore_mismatched_sizes=True, key_mapping=renamed,
    )  # fmt: skip
    if wrong := sorted(info["mismatched_keys"]):
        key, found, wanted = wrong[0]
        raise ConfigError(f"{what}: '{key}' of {path} has shape {list(found)}, the architecture needs {list(wanted)}")
    return {key: value for key, value in loaded.state_dict().items() if key not in info["missing_keys"]}
