"""CLIP as open_clip publishes it: two towers, with our own `vit` (or `modified-resnet`) and `text-tower`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import WEIGHTS as STOCK
from sensorium.families.folder import Folder
from sensorium.families.rules import Left, Rule, Table, fixed, prefixes
from sensorium.families.templates import token_of
from sensorium.interop.open_clip import (
    BLOCK,
    BLOCKS,
    CONFIG,
    MODEL,
    VISION,
    VIT,
    WEIGHTS,
    WORDS,
    chosen,
    text_config,
    vision_config,
)  # fmt: skip
from sensorium.model import ModelConfig
from sensorium.template import ChatTemplate, Turn

FIT = {"shortest": "crop", "squash": "stretch", "longest": "pad"}
"""What is done to pictures of another shape, as our tiling `whole` calls it."""
LEFT = (
    Left("{}attn_mask", "causal, as the fusion says"),
    *fixed(("input_resolution", "context_length", "vocab_size"), "announced by the config"),
)


class OpenCLIPFamily(Family):
    what = "CLIP of open_clip: ViT and ResNet towers of its own (open_clip_config.json)"
    files = WEIGHTS

    def recognises(self, folder: Folder) -> bool:
        return alone(folder)

    def config(self, folder: Folder) -> dict[str, Any]:
        settings = folder.json(CONFIG)
        model = chosen(settings.get("model_cfg") or {}, MODEL, "model_cfg")
        if model["embed_dim"] is None:
            raise ConfigError(f"{folder.path / CONFIG}: model_cfg has no embed_dim; fetch the file again")
        encoder, backbone = vision_config(settings), text_config(settings)
        head_dim = chosen(model["vision_cfg"] or {}, VISION, "vision_cfg")["head_width"]
        pool = {"type": "class-token"} if encoder["type"] == "vit" else {"type": "attention-pool", "head_dim": head_dim}
        return {
            "encoder": encoder,
            "tiling": tiling(settings.get("preprocess_cfg") or {}),
            "connector": pool,
            "fusion": {"type": "towers", "joint_dim": model["embed_dim"]},
            "backbone": backbone,
            "head": "embedding",
            "tokenizer": {"type": "hf", "path": str(folder.path)},
            "template": template(folder.json("tokenizer_config.json")).to_dict(),
            "context": backbone["positions"],
            "overflow": "truncate",
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        rules = [
            Rule("visual.proj", "connector.projection.weight", turned=True),
            Rule("visual.class_embedding", "encoder.class_token", lead=2),
            Rule("visual.positional_embedding", "encoder.positions", lead=1),
            Rule("logit_scale", "head.logit_scale", lead=-1),
        ]
        if config.encoder.type_name == "vit":
            rules += tower("visual.", "encoder.", VIT)
        else:
            rules += prefixes({"visual.attnpool.": "connector.", "visual.": "encoder."})
        for start in ("", "text."):  # a text tower of its own is kept apart
            rules += [Rule(f"{start}text_projection", "head.projection.weight", turned=True)]
            rules += tower(start, "backbone.", WORDS)
        return Table(tuple(rules), LEFT)


def alone(folder: Folder) -> bool:
    """Whether a folder has open_clip's config, and no weights of transformers beside it, which are read as such."""
    return CONFIG in folder.names and not any(name in folder.names for name in STOCK)


def tower(theirs: str, ours: str, outside: Mapping[str, str]) -> tuple[Rule, ...]:
    """The rules of a transformer."""
    blocks = {f"{theirs}{BLOCKS}{{}}.{a}": f"{ours}blocks.{{}}.{b}" for a, b in BLOCK.items()}
    return prefixes(blocks | {theirs + a: ours + b for a, b in outside.items()})


def tiling(pixels: Mapping[str, Any]) -> dict[str, Any]:
    """The tiling of a preprocess_cfg. Whatever its interpolation, pictures are resized bicubically here."""
    mode = pixels.get("resize_mode") or "shortest"
    if mode not in FIT:
        raise ConfigError(f"{CONFIG}: preprocess_cfg.resize_mode is '{mode}'; known are {', '.join(FIT)}")
    fill = {"fill": [int(pixels.get("fill_color") or 0)] * 3} if mode == "longest" else {}
    return {"type": "whole", "fit": FIT[mode], **fill}


def template(settings: dict[str, Any]) -> ChatTemplate:
    """Texts between the tokens that begin and end them, which are CLIP's own unless the folder says otherwise."""
    begin, end = (token_of(settings, name) for name in ("bos_token", "eos_token"))
    return ChatTemplate(document=Turn(prefix=begin or "<|startoftext|>", end=end or "<|endoftext|>"))


@family
def open_clip() -> Family:
    """CLIP in the layout of open_clip."""
    return OpenCLIPFamily()
