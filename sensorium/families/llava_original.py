"""LLaVA-1.5 (2310.03744) and Bunny (2402.11530) as their own code saves them.

`model.mm_projector.*` stands beside the language model; the vision tower is inside or, where it stayed frozen, left to
its own folder."""

from __future__ import annotations

from typing import Any

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.language import LANGUAGE_LEFT, context_of, language_backbone
from sensorium.families.llava import UNREAD
from sensorium.families.pixels import background, normalisation
from sensorium.families.rules import Table, prefixes
from sensorium.families.templates import conversation
from sensorium.model import ModelConfig

LANGUAGES = {
    "llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral", "llava_qwen": "qwen2",
    "bunny-phi": "phi", "bunny-phi3": "phi3", "bunny-qwen2": "qwen2", "bunny-llama": "llama",
}  # fmt: skip
"""Their model types, and those of the language models inside."""
OWN_KEYS = ("mm_", "tune_mm_", "use_mm_", "image_", "freeze_", "unfreeze_", "tokenizer_")
"""How keys of a config.json begin that are not the language model's."""
VISION = "model.vision_tower.vision_tower.vision_model."
HEAD_WIDTH = {"clip": 64, "siglip": 72}
"""Of ViT-L/14 and of so400m/14, by which heads are counted: no tensor tells their number."""
CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""What opens conversations; its literal text is part of the format."""


class OriginalLlava(Family):
    what = "LLaVA-1.5 and Bunny as their own code saves them (mm_projector)"
    model_types = tuple(LANGUAGES)

    def recognises(self, folder: Folder) -> bool:
        return super().recognises(folder) and "mm_vision_tower" in folder.settings

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, where = folder.settings, str(folder.path)
        _check(settings, where)
        architecture = {key: value for key, value in settings.items() if not key.startswith(OWN_KEYS)}
        kind = LANGUAGES[settings["model_type"]]
        backbone = language_backbone({**architecture, "model_type": kind}, where)
        encoder = _encoder(folder)
        padded = settings.get("image_aspect_ratio") == "pad"
        fill = background(encoder["mean"])
        bunny = settings["model_type"].startswith("bunny")
        template = conversation(folder, CURIOUS)
        return {
            "encoder": encoder,
            "tiling": {"type": "whole", **({"fit": "pad", "fill": fill} if padded else {"fit": _unpadded(encoder)})},
            "connector": _connector(settings, where),
            "backbone": backbone,
            "tokenizer": {"type": "hf", "path": where},
            "template": (template.model_copy(update={"begin": ""}) if bunny else template).to_dict(),
            "context": min(context_of(backbone["architecture"]), settings.get("tokenizer_model_max_length", 2**20)),
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        pairs = {
            "model.mm_projector.0.": "connector.layers.0.",
            "model.mm_projector.2.": "connector.layers.2.",
            "model.mm_projector.": "connector.projection.",
            VISION: "encoder.model.",
            "model.": "backbone.model.model.",
            "lm_head.": "backbone.model.lm_head.",
        }
        return Table(prefixes(pairs), (*LANGUAGE_LEFT, *UNREAD))


def _check(settings: dict[str, Any], where: str) -> None:
    if (merge := settings.get("mm_patch_merge_type", "flat")) != "flat":
        raise ConfigError(f"{where}: mm_patch_merge_type '{merge}' (LLaVA-NeXT's tiles) is not read yet")
    if settings.get("mm_use_im_start_end") or settings.get("use_s2"):
        raise ConfigError(f"{where}: mm_use_im_start_end and use_s2 are not read")


def _connector(settings: dict[str, Any], where: str) -> Any:
    kinds = {"mlp2x_gelu": {"type": "mlp", "depth": 2}, "linear": "linear"}
    if (kind := settings.get("mm_projector_type", "linear")) not in kinds:
        raise ConfigError(f"{where}: mm_projector_type '{kind}' is none of {', '.join(kinds)}")
    return kinds[kind]


def _encoder(folder: Folder) -> dict[str, Any]:
    """The tower by its tensors, or where they are left out by the folder that the config names."""
    settings = folder.settings
    name, layer = settings["mm_vision_tower"], settings.get("mm_vision_select_layer", -2)
    kind = "siglip" if "siglip" in name else "clip"
    common = {
        "type": "hf-vision",
        "feature_layer": layer,
        "drop_class_token": settings.get("mm_vision_select_feature", "patch") == "patch",
        **normalisation({}, kind),
    }
    tower = {k.removeprefix(VISION): v for k, v in folder.tensors().items() if k.startswith(VISION)}
    if not tower:
        return {**common, "path": name}
    depth = len({key.split(".")[2] for key in tower if key.startswith("encoder.layers.")})
    width, _, patch, _ = tower["embeddings.patch_embedding.weight"].shape
    places = len(tower["embeddings.position_embedding.weight"]) - (kind == "clip")
    if kind == "siglip":  # Bunny removes the last layer and reads the last that is left
        common["feature_layer"] = -1
    architecture = {
        "model_type": f"{kind}_vision_model",
        "hidden_size": width,
        "intermediate_size": len(tower["encoder.layers.0.mlp.fc1.bias"]),
        "num_hidden_layers": depth,
        "num_attention_heads": width // HEAD_WIDTH[kind],
        "image_size": patch * round(places**0.5),
        "patch_size": patch,
        "hidden_act": "quick_gelu" if kind == "clip" else "gelu_pytorch_tanh",
    }
    return {**common, "architecture": architecture}


def _unpadded(encoder: dict[str, Any]) -> str:
    return "stretch" if "siglip" in str(encoder.get("architecture", encoder.get("path"))) else "crop"


@family
def llava_original() -> Family:
    """LLaVA-1.5 and Bunny in the layout of their own code."""
    return OriginalLlava()
