"""The adapters contract: small trainable additions to layers of the backbone, whose own weights stay as they are."""

from __future__ import annotations

from torch import nn

from sensorium.backbones.backbone import Backbone
from sensorium.config import Part, PartConfig


class Adapters(nn.Module, Part, family="adapters", package="sensorium.adapters"):
    """Hooks the backbone's layers in `attach`; as a part of its own it is trained, saved and left out by itself."""

    class Config(PartConfig):
        pass

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def attach(self, backbone: Backbone) -> None:
        """Make what depends on the backbone's layers, and hook them: once, when the model is built."""

    def merge(self, backbone: Backbone) -> None:
        """Fold the additions into the backbone's weights and take the hooks off: the function stays the same."""


class NoAdapters(Adapters, name="none"):
    """None."""
