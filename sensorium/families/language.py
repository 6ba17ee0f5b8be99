"""Plain language models of `transformers`: Llama, SmolLM2, Qwen2 and 2.5, Phi-3, OPT, Mistral.

They become the backbone `hf` of a model without an encoder, which reads text alone. A recipe needs no import: its
`model.backbone.path` takes the same folder.
"""

from __future__ import annotations

from typing import Any

from sensorium.errors import ConfigError
from sensorium.families.family import Family, Stock, StockFamily, family
from sensorium.families.folder import Folder
from sensorium.families.rules import DERIVED, Left, Table, prefixes
from sensorium.families.templates import published_template, tokenizer_files
from sensorium.interop.pretrained import make_config
from sensorium.model import Model, ModelConfig

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "phi": "PhiForCausalLM",
    "opt": "OPTForCausalLM",
}
"""Model types and their stock classes."""
BOOKKEEPING = ("auto_map", "_name_or_path", "torch_dtype", "dtype", "transformers_version")
"""Keys of a config.json that say nothing about the architecture."""


class Language(StockFamily):
    what = "plain language models of transformers (Llama, SmolLM2, Qwen2, Phi-3, Phi, OPT, Mistral)"
    model_types = tuple(CLASSES)

    def config(self, folder: Folder) -> dict[str, Any]:
        backbone = language_backbone(folder.settings, str(folder.path))
        return {
            "encoder": {"type": "none", "width": folder.settings["hidden_size"]},
            "connector": "identity",
            "backbone": backbone,
            "tokenizer": {"type": "hf", "path": str(folder.path)},
            "template": published_template(folder).to_dict(),
            "context": context_of(backbone["architecture"]),
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        """OPT's first folders lack the leading `model.`."""
        pairs = {"model.": "backbone.model.model.", "lm_head.": "backbone.model.lm_head."}
        return Table(prefixes({**pairs, "decoder.": "backbone.model.model.decoder."}), LANGUAGE_LEFT)

    def obstacles(self, config: ModelConfig) -> list[str]:
        found = language_obstacles(config)
        if config.encoder.type_name != "none":
            found.append(f"encoder '{config.encoder.type_name}': a plain language model reads no pictures")
        return found

    def stock(self, model: Model) -> Stock:
        config, (settings, ids) = model.config, language_settings(model)
        return Stock(settings | ids, tokenizer_files(model.tokenizer, config.template, config.context))


LANGUAGE_LEFT = (*DERIVED, Left("{}attn.bias", "a causal mask"), Left("{}attn.masked_bias", "a causal mask"))


def language_backbone(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """The backbone `hf` for the config.json of a language model."""
    if settings.get("quantization_config"):
        raise ConfigError(f"{where}: the weights are quantised (quantization_config); fetch the original ones")
    kind = settings.get("model_type", "llama")
    if kind not in CLASSES:
        raise ConfigError(f"{where}: its language model is a '{kind}'; known are {', '.join(CLASSES)}")
    if settings.get("word_embed_proj_dim", settings.get("hidden_size")) != settings.get("hidden_size"):
        raise ConfigError(f"{where}: embeddings of another width than the layers (OPT-350M) are not read")
    architecture = {key: value for key, value in settings.items() if key not in BOOKKEEPING}
    return {"type": "hf", "architecture": {"model_type": kind, **architecture}}


def context_of(architecture: dict[str, Any]) -> int:
    """The longest sample: what the positions, and a sliding window if it is in use, allow."""
    settings = make_config(architecture, "backbone 'hf'")
    window = getattr(settings, "sliding_window", None) if getattr(settings, "use_sliding_window", True) else None
    return min(settings.max_position_embeddings, window or settings.max_position_embeddings)


def language_obstacles(config: ModelConfig) -> list[str]:
    """What keeps a composition's language model from being a stock one."""
    found = []
    if config.backbone.type_name != "hf":
        found.append(f"backbone '{config.backbone.type_name}': a stock class holds a model of transformers ('hf')")
    elif (kind := config.backbone.resolved().architecture["model_type"]) not in CLASSES:  # pyright: ignore
        found.append(f"backbone 'hf': model_type '{kind}' is none of {', '.join(CLASSES)}")
    elif unlike := [key for key in ("apart", "output_bias") if getattr(config.backbone, key)]:
        found.append(f"backbone 'hf': nothing there has what {' and '.join(unlike)} add")
    if config.fusion.type_name != "inline":
        found.append(f"fusion '{config.fusion.type_name}': features stand in line with the text there ('inline')")
    if config.head.type_name != "token" or not getattr(config.head, "tied", False):
        found.append(f"head '{config.head.type_name}': the logits are the backbone's own there ('token', tied)")
    if config.adapters.type_name != "none":
        found.append(f"adapters '{config.adapters.type_name}': merge them first (edit 'merge-adapters')")
    return found


def language_settings(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config.json of the backbone, and the ids of its special tokens."""
    architecture = dict(model.config.backbone.resolved().architecture)  # pyright: ignore
    beside = tokenizer_files(model.tokenizer, model.config.template, model.config.context)["generation_config.json"]
    ids = {key: value for key, value in beside.items() if key.endswith("_token_id")}
    return {**architecture, "architectures": [CLASSES[architecture["model_type"]]], "dtype": "float32"}, ids


@family
def language_model() -> Family:
    """Language models without pictures."""
    return Language()
