"""Named places for the data of published recipes, which users fill with copies of their own, and constants that several
systems share."""

from __future__ import annotations

from typing import Any

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEAN_COLOUR = (122, 116, 104)
"""CLIP's mean as a colour, with which pictures are padded to a square"""


CLIP_L: dict[str, Any] = {
    "type": "hf-vision",
    "architecture": {
        "model_type": "clip_vision_model",
        "image_size": 224,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "quick_gelu",
    },
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
}
"""CLIP ViT-L/14 at 224 pixels"""


def captions(folder: str, what: str) -> dict[str, Any]:
    """Captioned pictures in tar shards."""
    hint = f"{what}: tar shards of key.jpg with key.txt, as img2dataset writes them"
    return {"type": "captions", "folder": folder, "hint": hint}


def pages(folder: str, what: str) -> dict[str, Any]:
    """Web pages: texts and pictures in turn."""
    hint = f"{what}: lines with texts and images, two lists of which each place has one or the other"
    return {"type": "interleaved", "folder": folder, "hint": hint}


def mmc4(folder: str, what: str) -> dict[str, Any]:
    """Web pages in the form of Multimodal C4."""
    return {"type": "mmc4", "folder": folder, "hint": f"{what}: its lines, and the pictures that they name"}


def videos(folder: str, what: str) -> dict[str, Any]:
    """Videos with texts, as messages."""
    return {"type": "messages", "folder": folder, "hint": f"{what}: lines with videos and messages"}


def chats(folder: str, what: str) -> dict[str, Any]:
    """Questions and answers about pictures, and instructions."""
    return {"type": "llava", "folder": folder, "hint": f"{what}: lines with image and conversations, in LLaVA's form"}


def shares(*slots: tuple[float, dict[str, Any]], by: str = "weight") -> list[dict[str, Any]]:
    """Sources with their weights, or with their `loss_weight`."""
    return [{"source": source, by: weight} for weight, source in slots]
