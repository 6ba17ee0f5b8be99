"""CLIP (2103.00020) and SigLIP (2303.15343) of `transformers`: two towers, with our own `vit` and `text-tower`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from sensorium.config import find_part
from sensorium.errors import ConfigError
from sensorium.families import open_clip
from sensorium.families.family import Family, Stock, StockFamily, family
from sensorium.families.folder import Folder
from sensorium.families.pixels import pixels_of, processor_of, tiling_of
from sensorium.families.rules import DERIVED, Rule, Table
from sensorium.families.templates import token_of, tokenizer_files
from sensorium.interop import clip, siglip
from sensorium.interop.towers import ACTIVATIONS, LAYER, QKV
from sensorium.model import Model, ModelConfig
from sensorium.template import ChatTemplate, Turn

TOWERS = {"vision_model": "encoder", "text_model": "backbone"}
THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in ACTIVATIONS.items() if theirs != "gelu_new"}

KINDS = {"encoder": "vit", "fusion": "towers", "backbone": "text-tower", "head": "embedding"}
BEGINNINGS = ("scale", "logit_bias")
"""What a head was begun with, which its weights have left behind."""


class TwoTowers(StockFamily):
    """What both share; the difference is in `sensorium.interop`'s tables."""

    outside: ClassVar[Mapping[str, tuple[str, str]]]
    lead: ClassVar[Mapping[str, int]]
    """our names and their further dimensions"""
    translate: ClassVar[Callable[..., dict[str, Any]]]
    kinds: ClassVar[dict[str, str]]
    """the parts, by name"""

    def config(self, folder: Folder) -> dict[str, Any]:
        given = pixels_of(folder)
        found = type(self).translate(folder.settings, given)
        mean = found["encoder"]["mean"]
        tiling = tiling_of(given, mean) if given else found["tiling"]
        template = self.template(folder, found["context"]).to_dict()
        tokenizer = {"type": "hf", "path": str(folder.path)}
        return {**found, "tiling": tiling, "tokenizer": tokenizer, "template": template, "overflow": "truncate"}

    @abstractmethod
    def template(self, folder: Folder, context: int) -> ChatTemplate:
        """What opens and ends a text there."""

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        rules = [
            Rule(theirs, f"{part}.{name}", lead=self.lead.get(f"{part}.{name}", 0))
            for theirs, (part, name) in self.outside.items()
        ]
        for tower, part in TOWERS.items():
            start, ours = f"{tower}.encoder.layers.{{}}", f"{part}.blocks.{{}}"
            rules += [Rule(f"{start}.{a}.{{}}", f"{ours}.{b}.{{}}") for a, b in LAYER.items()]
            rules += [Rule(f"{start}.{a}.{{}}", f"{ours}.qkv.{{}}", place=(i, 3)) for a, i in QKV.items()]
        return Table(tuple(rules), DERIVED)

    def obstacles(self, config: ModelConfig) -> list[str]:
        """Whatever a model of theirs, made of this one's sizes and read again, would have otherwise."""
        kinds = {part: getattr(config, part).type_name for part in self.kinds}
        found = [f"{part} '{kind}': it is '{self.kinds[part]}' there" for part, kind in kinds.items()
                 if kind != self.kinds[part]]  # fmt: skip
        activations = {} if found else {part: getattr(config, part).activation for part in TOWERS.values()}
        found += [
            f"{part}: no activation there is '{a}'" for part, a in activations.items() if a not in THEIR_ACTIVATIONS
        ]
        if found:
            return found
        again = type(self).translate(self.settings(config), _normalisation(config))
        for part, kind in kinds.items():
            ours = getattr(config, part).to_dict()
            given = again[part] if isinstance(again[part], dict) else {}
            theirs = find_part(getattr(config, part).family, kind).from_dict({"type": kind, **given}).to_dict()
            if unlike := [key for key in ours if ours[key] != theirs[key] and key not in BEGINNINGS]:
                found.append(f"{part} '{kind}': its {', '.join(unlike)} differ there")
        turn, last = config.template.document, getattr(config.backbone, "positions", 0)
        if self.model_types[0] == "siglip" and turn.length != last:
            found.append(f"template.document.length is {turn.length}: texts fill all {last} positions there")
        return found

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """config.json, but for what depends on the tokenizer."""
        return {
            "model_type": self.model_types[0],
            "vision_config": _sizes(config.encoder, image_size="image_size", patch_size="patch_size"),
            "text_config": _sizes(config.backbone, max_position_embeddings="positions"),
            "projection_dim": getattr(config.fusion, "joint_dim", None),
        }

    def stock(self, model: Model) -> Stock:
        config, settings = model.config, self.settings(model.config)
        files = tokenizer_files(model.tokenizer, config.template, config.context)
        settings["text_config"] |= {
            "vocab_size": model.tokenizer.vocab_size,
            "pad_token_id": model.tokenizer.pad_id,
            **self.ends(model),
        }
        settings |= {"architectures": [type(self).__name__ + "Model"], "dtype": "float32"}
        if self.model_types[0] == "siglip":
            settings["text_config"]["projection_size"] = settings["projection_dim"]
        norm = _normalisation(config)
        pixels = processor_of(config, norm["image_mean"], norm["image_std"])
        files["preprocessor_config.json"] = {**pixels, "processor_class": type(self).__name__ + "Processor"}
        del files["generation_config.json"], files["tokenizer_config.json"]["chat_template"]
        turn = config.template.document
        marks = {"bos_token": turn.prefix} if turn.prefix else {}
        files["tokenizer_config.json"] |= marks | ({"eos_token": turn.end} if turn.end else {})
        if turn.length:  # padding is read with the text, so that no mask may hide it
            files["tokenizer_config.json"]["model_input_names"] = ["input_ids"]
        return Stock(settings, files, around=(turn.prefix, turn.end))

    def ends(self, model: Model) -> dict[str, Any]:
        """The ids of what opens and ends a text. CLIP's class reads texts at the token that ends them, but takes id 2
        for the sign of an old config and then reads at the highest id."""
        turn = model.config.template.document
        if self.model_types[0] == "clip" and turn.end and model.tokenizer.id_of(turn.end) == 2:
            raise ConfigError(
                f"the token {turn.end!r} has id 2, at which CLIPModel reads no text; train another tokenizer"
            )
        return {f"{n}_token_id": model.tokenizer.id_of(t) for n, t in (("bos", turn.prefix), ("eos", turn.end)) if t}


class CLIP(TwoTowers):
    what = "CLIPModel of transformers"
    model_types = ("clip",)
    outside, translate = clip.OUTSIDE, staticmethod(clip.clip_config)
    kinds: ClassVar[dict[str, str]] = {**KINDS, "connector": "class-token"}
    lead: ClassVar[Mapping[str, int]] = {"encoder.class_token": 2, "encoder.positions": 1}

    def recognises(self, folder: Folder) -> bool:
        return super().recognises(folder) and not open_clip.alone(folder)

    def template(self, folder: Folder, context: int) -> ChatTemplate:
        settings = folder.json("tokenizer_config.json")
        return ChatTemplate(document=Turn(prefix=token_of(settings, "bos_token"), end=token_of(settings, "eos_token")))


class Siglip(TwoTowers):
    what = "SiglipModel of transformers"
    model_types = ("siglip",)
    outside, translate = siglip.OUTSIDE, staticmethod(siglip.siglip_config)
    kinds: ClassVar[dict[str, str]] = {**KINDS, "connector": "map-head"}
    lead: ClassVar[Mapping[str, int]] = {"encoder.positions": 1, "head.logit_scale": -1, "head.logit_bias": -1}

    def template(self, folder: Folder, context: int) -> ChatTemplate:
        end = token_of(folder.json("tokenizer_config.json"), "eos_token")
        return ChatTemplate(document=Turn(end=end, length=context))


def _sizes(config: Any, **more: str) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.width * config.mlp_ratio),
        "layer_norm_eps": config.norm_eps,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
        **{theirs: getattr(config, ours) for theirs, ours in more.items()},
    }


def _normalisation(config: ModelConfig) -> dict[str, Any]:
    encoder: Any = config.encoder
    return {"image_mean": encoder.mean, "image_std": encoder.std}


@family
def clip_hf() -> Family:
    """CLIP in the layout of transformers."""
    return CLIP()


@family
def siglip_hf() -> Family:
    """SigLIP in the layout of transformers."""
    return Siglip()
