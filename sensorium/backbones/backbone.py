"""The backbone contract: embeddings in, hidden states out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig


class Backbone(nn.Module, Part, family="backbone", package="sensorium.backbones"):
    """A causal language model without its output layer. What the layout needs is on the config."""

    class Config(PartConfig):
        @property
        def dim(self) -> int:
            """Width of embeddings and hidden states."""
            raise TypeError(f"{type(self).__qualname__} must define dim")

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Token ids `[rows, tokens]` to embeddings `[rows, tokens, dim]`."""

    @abstractmethod
    def forward(self, embeddings: Tensor, positions: Tensor, mask: Tensor, cache: Any | None = None) -> Tensor:
        """`embeddings` `[rows, tokens, dim]` to hidden states of the same shape, after the final norm.

        `positions` `[rows, tokens]` count within each document; `mask` bool `[rows, 1, tokens, keys]` is true where a
        query may attend. With a `cache` from `new_cache`, keys of earlier calls come first and are extended in place.
        """

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty key-value cache for generation."""

    @abstractmethod
    def output_weight(self) -> Tensor:
        """`[vocab, dim]`: what a token head reads with by default (the embedding when the model ties them)."""

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The transformer layers in order, which fusion can hook."""

    def shard_units(self) -> list[nn.Module]:
        """The modules that parallel training shards one by one."""
        return list(self.layers)


def causal_mask(documents: Tensor) -> Tensor:
    """`[rows, 1, tokens, tokens]`, true where query and key are of one document and the key is not later.

    `documents` `[rows, tokens]` numbers the packed samples of a row; tokens of one number see each other and nothing
    else, which is the whole of the isolation between packed samples.
    """
    tokens = documents.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=documents.device).tril()
    return ((documents[:, :, None] == documents[:, None, :]) & causal)[:, None]
