"""LLaVA-1.5 as `transformers` has it (the llava-hf folders): CLIP or SigLIP, an MLP of two layers, a language model."""

from __future__ import annotations

from typing import Any, ClassVar

from sensorium.encoders.hf import EXTRA_TOKENS, HFVision
from sensorium.errors import ConfigError
from sensorium.families.family import Family, Stock, StockFamily, family
from sensorium.families.folder import Folder
from sensorium.families.language import LANGUAGE_LEFT, language_backbone, language_obstacles, language_settings
from sensorium.families.language import context_of as longest
from sensorium.families.pixels import (
    normalisation,
    pixel_obstacles,
    pixels_of,
    processor_of,
    tiling_of,
    tower_obstacles,
)
from sensorium.families.rules import Left, Rule, Table, prefixes
from sensorium.families.templates import IMAGE, conversation, tokenizer_files
from sensorium.model import Model, ModelConfig

RULES = prefixes({
    "language_model.model.": "backbone.model.model.",
    "language_model.lm_head.": "backbone.model.lm_head.",
    "vision_tower.vision_model.": "encoder.model.",
    "multi_modal_projector.linear_1.": "connector.layers.0.",
    "multi_modal_projector.linear_2.": "connector.layers.2.",
    # what transformers keeps in memory, or writes since its version 5
    "model.language_model.": "backbone.model.model.",
    "lm_head.": "backbone.model.lm_head.",
    "vision_tower.": "encoder.model.",
    "model.vision_tower.vision_model.": "encoder.model.",
    "model.vision_tower.": "encoder.model.",
    "model.multi_modal_projector.linear_1.": "connector.layers.0.",
    "model.multi_modal_projector.linear_2.": "connector.layers.2.",
})  # fmt: skip
TOWERS = ("clip_vision_model", "siglip_vision_model")
POOLING = "SigLIP's pooling head, which gives no features"
UNREAD = (Left("{}vision_model.head.{}", POOLING), Left("{}vision_tower.head.{}", POOLING))


class Llava(StockFamily):
    what = "LlavaForConditionalGeneration of transformers: LLaVA-1.5, and others of its shape"
    model_types = ("llava",)
    classes: ClassVar[tuple[str, str]] = ("LlavaForConditionalGeneration", "LlavaProcessor")
    """the model's and its processor's"""
    assembly: ClassVar[tuple[str, str]] = ("tiles", "the features of a tile stand one by one")
    """its name, and what it does, for those that are another"""
    rules: ClassVar[tuple[Rule, ...]] = RULES

    def recognises(self, folder: Folder) -> bool:
        return super().recognises(folder) and "vision_config" in folder.settings

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, given = folder.settings, pixels_of(folder)
        _check(settings, str(folder.path))
        vision = settings["vision_config"]
        tower = {"type": "hf-vision", "architecture": vision, **normalisation(given, vision["model_type"])}
        backbone = language_backbone(settings["text_config"], str(folder.path))
        drops = settings.get("vision_feature_select_strategy", "default") == "default"
        return {
            "encoder": {
                **tower,
                "feature_layer": settings.get("vision_feature_layer", -2),
                "drop_class_token": drops,
            },
            **self.cutting(folder, given, tower["mean"]),
            "connector": {"type": "mlp", "depth": 2},
            "backbone": backbone,
            "tokenizer": {"type": "hf", "path": str(folder.path)},
            "template": conversation(folder).to_dict(),
            "context": longest(backbone["architecture"]),
        }

    def cutting(self, folder: Folder, given: dict[str, Any], mean: tuple[float, ...]) -> dict[str, Any]:
        """Tiling and assembly, of the folder and its image processor's config."""
        return {"tiling": tiling_of(given, mean), "assembly": self.assembly[0]}

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        return Table(self.rules, (*LANGUAGE_LEFT, *UNREAD))

    def obstacles(self, config: ModelConfig) -> list[str]:
        found = tower_obstacles(config, *TOWERS) + language_obstacles(config)
        if (connector := config.connector).type_name != "mlp" or getattr(connector, "depth", 0) != 2:
            found.append(f"connector '{connector.type_name}': it is an MLP of two layers there ('mlp')")
        if getattr(config.backbone.resolved(), "architecture", {}).get("model_type") == "phi":
            found.append("backbone 'hf': the output of Phi-2 has a bias, for which there is no place there")
        if (assembly := config.assembly.type_name) != self.assembly[0]:
            found.append(f"assembly '{assembly}': {self.assembly[1]} there ('{self.assembly[0]}')")
        return found or self.cutting_obstacles(config)

    def cutting_obstacles(self, config: ModelConfig) -> list[str]:
        """What keeps pictures from being cut as the stock processor does it."""
        mean = getattr(config.encoder.resolved(), "mean", None)
        return pixel_obstacles(config, mean)  # pyright: ignore[reportArgumentType]

    def cutting_stock(self, config: ModelConfig, pixels: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """How pictures are cut, for config.json and for the image processor, whose `pixels` are those of one tile."""
        return {}, pixels

    def stock(self, model: Model) -> Stock:
        config, encoder = model.config, model.config.encoder.resolved()
        assert isinstance(encoder, HFVision.Config)
        text, _ = language_settings(model)
        kind = encoder.settings["model_type"]
        strategy = "default" if encoder.drop_class_token and EXTRA_TOKENS[kind] else "full"
        image = model.tokenizer.with_specials((IMAGE,)).id_of(IMAGE)
        settings = {
            "architectures": [self.classes[0]],
            "model_type": self.model_types[0],
            "dtype": "float32",
            "text_config": text,
            "vision_config": {**encoder.settings, "vision_use_head": False},
            "image_token_index": image,
            "image_seq_length": encoder.tokens,
            "vision_feature_layer": -1 if encoder.feature_layer is None else encoder.feature_layer,
            "vision_feature_select_strategy": strategy,
            "projector_hidden_act": "gelu",
            "multimodal_projector_bias": True,
            "tie_word_embeddings": text.get("tie_word_embeddings", False),
        }
        processor = {
            "processor_class": self.classes[1],
            "patch_size": encoder.settings["patch_size"],
            "num_additional_image_tokens": EXTRA_TOKENS[kind],
            "vision_feature_select_strategy": strategy,
            "image_token": IMAGE,
        }
        assert encoder.mean is not None
        assert encoder.std is not None
        files = tokenizer_files(model.tokenizer, config.template, config.context, IMAGE)
        cutting, pixels = self.cutting_stock(config, processor_of(config, encoder.mean, encoder.std))
        files["chat_template.json"] = {"chat_template": files["tokenizer_config.json"]["chat_template"]}
        files |= {"preprocessor_config.json": {**pixels, **processor}, "processor_config.json": processor}
        return Stock(settings | cutting, files, (IMAGE,))


def _check(settings: dict[str, Any], where: str) -> None:
    wanted = {"projector_hidden_act": "gelu", "multimodal_projector_bias": True}
    for key, value in wanted.items():
        if settings.get(key, value) != value:
            raise ConfigError(f"{where}: {key} is {settings[key]!r}, our connector 'mlp' has {value!r}")
    if not isinstance(settings.get("vision_feature_layer", -2), int):
        raise ConfigError(f"{where}: vision_feature_layer names several layers; one is read here")
    if (kind := settings["vision_config"].get("model_type")) not in EXTRA_TOKENS:
        raise ConfigError(f"{where}: vision_config.model_type '{kind}' is none of {', '.join(EXTRA_TOKENS)}")
    if settings.get("vision_feature_select_strategy", "default") == "default" and not EXTRA_TOKENS[kind]:
        raise ConfigError(
            f"{where}: vision_feature_select_strategy 'default' drops the first feature, which with '{kind}' is a "
            "patch and no class token; only 'full' is read with it"
        )


@family
def llava_hf() -> Family:
    """LLaVA-1.5 in the layout of transformers."""
    return Llava()
