"""The head contract: hidden states to outputs."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from sensorium.config import Part, PartConfig


class Head(nn.Module, Part, family="head", package="sensorium.heads"):
    """Reads hidden states of any leading shape. It is built with the backbone's output `weight` `[vocab, dim]` and
    `bias` `[vocab]`, if there is one, and the `media_dim` of features, of which it may use what it needs."""

    class Config(PartConfig):
        pass

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor: ...
