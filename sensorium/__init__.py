"""Sensorium: build, train and evaluate large multimodal models. Importing it does not import torch."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sensorium.sample import Audio, Image, Points, Region, Sample, Segment, Table, Text, Video, caption, chat

if TYPE_CHECKING:
    from sensorium.model import compose
    from sensorium.recipe import find_recipe as recipe
    from sensorium.training.checkpoint import load_model as load
    from sensorium.training.trainer import train

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning barriers make two busy processes up to 17 times slower

__version__ = "0.1.0"
__all__ = [
    "Audio",
    "Image",
    "Points",
    "Region",
    "Sample",
    "Segment",
    "Table",
    "Text",
    "Video",
    "caption",
    "chat",
    "compose",
    "load",
    "recipe",
    "train",
]

_LAZY = {
    "load": ("sensorium.training.checkpoint", "load_model"),
    "train": ("sensorium.training.trainer", "train"),
    "compose": ("sensorium.model", "compose"),
}


def __getattr__(name: str) -> Any:
    if name == "recipe":
        return import_module("sensorium.recipe")
    if name not in _LAZY:
        raise AttributeError(f"module 'sensorium' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
