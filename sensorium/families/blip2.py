"""BLIP-2 (2301.12597) as `transformers` has it, with a language model that is a decoder: OPT."""

from __future__ import annotations

from typing import Any

from sensorium.connectors.q_former import QFormer
from sensorium.encoders.hf import BLIP_2, HFVision
from sensorium.errors import ConfigError
from sensorium.families.family import Family, Stock, StockFamily, family
from sensorium.families.folder import Folder
from sensorium.families.language import (
    LANGUAGE_LEFT,
    context_of,
    language_backbone,
    language_obstacles,
    language_settings,
)
from sensorium.families.pixels import (
    normalisation,
    pixel_obstacles,
    pixels_of,
    processor_of,
    tiling_of,
    tower_obstacles,
)
from sensorium.families.q_former import q_former_config, q_former_rules, q_former_settings
from sensorium.families.rules import Table, prefixes
from sensorium.families.templates import IMAGE, token_of, tokenizer_files
from sensorium.model import Model, ModelConfig
from sensorium.template import ChatTemplate, Turn

CLASS = "Blip2ForConditionalGeneration"
PREFIXES = {"vision_model.": "encoder.model.", "language_model.": "backbone.model."}


class Blip2(StockFamily):
    what = "Blip2ForConditionalGeneration of transformers with a decoder as its language model: BLIP-2 with OPT"
    model_types = ("blip-2",)

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, given, where = folder.settings, pixels_of(folder), str(folder.path)
        _check(settings, where)
        backbone = language_backbone({"model_type": "opt", **settings["text_config"]}, where)
        tower = {**settings["vision_config"], "model_type": BLIP_2}
        pixels = normalisation(given, "clip")
        return {
            "encoder": {"type": "hf-vision", "architecture": tower, "drop_class_token": False, **pixels},
            "tiling": tiling_of(given, pixels["mean"]),
            "connector": q_former_config(settings),
            "backbone": backbone,
            "tokenizer": {"type": "hf", "path": where},
            "template": _running_text(folder).to_dict(),
            "context": context_of(backbone["architecture"]),
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        return Table((*q_former_rules(), *prefixes(PREFIXES)), LANGUAGE_LEFT)

    def obstacles(self, config: ModelConfig) -> list[str]:
        encoder, connector = config.encoder, config.connector
        found = tower_obstacles(config, BLIP_2) + language_obstacles(config)
        if isinstance(encoder, HFVision.Config) and (encoder.drop_class_token or encoder.feature_layer is not None):
            found.append("encoder 'hf-vision': all its output is read there (drop_class_token=false, no feature_layer)")
        if not isinstance(connector, QFormer.Config):
            found.append(f"connector '{connector.type_name}': it is a Q-Former there ('q-former')")
        elif connector.text or connector.media_norm:
            found.append("connector 'q-former': it has neither a text side nor media_norm there (edit 'reconfigure')")
        if config.assembly.type_name != "tiles":
            found.append(f"assembly '{config.assembly.type_name}': queries stand one by one there ('tiles')")
        if config.template.before_image or config.template.document.prefix:
            found.append("template: a picture stands before all marks there (before_image, document.prefix)")
        mean = getattr(encoder.resolved(), "mean", None)
        return found or pixel_obstacles(config, mean)  # pyright: ignore[reportArgumentType]

    def stock(self, model: Model) -> Stock:
        config, connector, encoder = model.config, model.config.connector, model.config.encoder.resolved()
        assert isinstance(encoder, HFVision.Config)
        assert isinstance(connector, QFormer.Config)
        text, ids = language_settings(model)
        tokenizer, mark = model.tokenizer.with_specials((IMAGE,)), config.template.after_image
        _check_marks(model, tokenizer.vocab_size)
        last = tokenizer.markers(config.template.assistant.end or config.template.document.end)
        marks = {"bos_token_id": tokenizer.id_of(mark)} if mark else {}
        marks |= {"eos_token_id": last[0]} if len(last) == 1 else {}
        settings = {
            "architectures": [CLASS],
            "model_type": self.model_types[0],
            "dtype": "float32",
            "vision_config": encoder.settings,
            "text_config": {**text, **ids, **marks},  # from which its generate knows where texts end
            "image_token_index": tokenizer.id_of(IMAGE),
            **q_former_settings(connector, encoder.dim),
        }
        assert encoder.mean is not None
        assert encoder.std is not None
        pixels = processor_of(config, encoder.mean, encoder.std)
        if pixels["image_processor_type"] == "SiglipImageProcessor":
            pixels["image_processor_type"] = "BlipImageProcessor"  # the same, under its own name
        processor = {"processor_class": "Blip2Processor", "num_query_tokens": connector.queries}
        files = tokenizer_files(model.tokenizer, config.template, config.context)  # its processor names <image>
        del files["tokenizer_config.json"]["chat_template"]
        if mark:
            files["tokenizer_config.json"]["bos_token"] = mark
        files |= {"preprocessor_config.json": {**pixels, **processor}, "processor_config.json": processor}
        return Stock(settings, files, (IMAGE,), around=(mark, ""))


def _running_text(folder: Folder) -> ChatTemplate:
    """A picture, the token that begins texts, and whatever is asked as it is: BLIP-2 knows no roles. A reply ends with
    a line, as its language model was taught."""
    begin = token_of(folder.json("tokenizer_config.json"), "bos_token") or "</s>"
    line = Turn(end="\n")
    return ChatTemplate(
        document=line, system=Turn(after=" "), user=Turn(), assistant=line, image=IMAGE, after_image=begin
    )


def _check(settings: dict[str, Any], where: str) -> None:
    kinds = settings.get("architectures") or [CLASS]
    if kinds[0] not in (CLASS, "Blip2Model") or (settings.get("qformer_config") or {}).get("use_qformer_text_input"):
        raise ConfigError(f"{where}: is a {kinds[0]} whose Q-Former reads BERT's tokens; {CLASS} is read")
    text = settings.get("text_config") or {}
    if "t5" in (kind := text.get("model_type", "opt")) or text.get("is_encoder_decoder"):
        raise ConfigError(
            f"{where}: its language model is a '{kind}', an encoder-decoder (BLIP-2 with Flan-T5), and backbones here "
            "are decoders; fetch one with OPT, such as blip2-opt-2.7b"
        )


def _check_marks(model: Model, tokens: int) -> None:
    """What the stock class cannot do without: a row for `<image>` among its `tokens`, and one token behind a picture,
    if any."""
    mark, rows = model.config.template.after_image, len(model.backbone.output_weight())
    if tokens > rows:
        raise ConfigError(
            f"the language model embeds {rows} tokens and has no row left for {IMAGE}; a new one could be written by "
            "its generate, which BLIP-2's class does not let a generation config forbid"
        )
    if mark and model.tokenizer.rust.token_to_id(mark) is None:
        raise ConfigError(f"template.after_image {mark!r} is no token, and the stock processor writes one there")


@family
def blip2_hf() -> Family:
    """BLIP-2 in the layout of transformers."""
    return Blip2()
