"""The backbone contract: embeddings in, hidden states out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.config import Config, Part, PartConfig
from sensorium.errors import ConfigError


@dataclass(frozen=True)
class Attention:
    """Who may attend to whom, in the two forms that kernels want."""

    mask: Tensor
    """bool `[rows, 1, tokens, keys]`, true where a query may attend"""
    unpack: Tensor | None = None
    """int64 `[samples, longest]`: where each sample's tokens stand in the flattened rows. Given where samples attend to
    themselves and nothing across; ends shorter than the longest repeat token 0"""
    repack: Tensor | None = None
    """int64 `[rows * tokens]`: where each token stands in the flattened `unpack`"""
    keys: Tensor | None = None
    """bool `[samples, 1, 1, longest]`: which of `unpack` are tokens. Given where a sample's tokens all attend to each
    other; None where they attend causally, which hides the ends by itself"""

    @classmethod
    def within(cls, documents: Tensor, causal: bool = True) -> Attention:
        """Causal, or both ways, within each packed sample and nothing across, which is the whole of the isolation
        between them.

        `documents` `[rows, tokens]` numbers the samples of a row, 0 for padding.
        """
        rows, tokens = documents.shape
        device = documents.device
        mask = documents[:, :, None] == documents[:, None, :]
        if causal:
            mask = mask & torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
        numbered = (documents + torch.arange(rows, device=device)[:, None] * (tokens + 1)).flatten()
        sample, lengths = torch.unique_consecutive(numbered, return_inverse=True, return_counts=True)[1:]
        place = torch.arange(rows * tokens, device=device) - (lengths.cumsum(0) - lengths)[sample]
        unpack = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64, device=device)
        unpack[sample, place] = torch.arange(rows * tokens, device=device)
        keys = None if causal else torch.arange(unpack.shape[1], device=device) < lengths[:, None, None, None]
        return cls(mask[:, None], unpack, sample * unpack.shape[1] + place, keys)


class Apart(Config):
    """Tokens that a vocabulary was given later and whose rows stand in a matrix of their own, so that training can
    leave the others alone (IDEFICS, arXiv 2306.16527; xGen-MM's released weights)."""

    known: int = Field(ge=1, description="ids from here on are those of new tokens")
    new: int = Field(ge=1, description="how many there are")


class Backbone(nn.Module, Part, family="backbone", package="sensorium.backbones"):
    """A language model, or a text tower, without its output layer. What the layout needs is on the config."""

    class Config(PartConfig):
        @property
        def dim(self) -> int:
            """Width of embeddings and hidden states."""
            raise TypeError(f"{type(self).__qualname__} must define dim")

        @property
        def vocab_size(self) -> int | None:
            """Tokens that pre-trained weights embed; None where the tokenizer says how many."""
            return None

        @property
        def max_positions(self) -> int | None:
            """The longest sample in tokens, where positions are learned one by one; None if nothing limits them."""
            return None

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Token ids `[rows, tokens]` to embeddings `[rows, tokens, dim]`."""

    @abstractmethod
    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention, cache: Any | None = None) -> Tensor:
        """`embeddings` `[rows, tokens, dim]` to hidden states of the same shape, after the final norm.

        `positions` `[rows, tokens]` count within each sample. With a `cache` from `new_cache`, the keys of earlier
        calls come first and the cache is extended in place.
        """

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty key-value cache for generation."""

    @abstractmethod
    def output_weight(self) -> Tensor:
        """`[vocab, dim]`: what a token head reads with by default (the embedding when the model ties them)."""

    def output_bias(self) -> Tensor | None:
        """`[vocab]`: what a token head adds by default, if anything."""
        return None

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The transformer layers in order, which fusion can hook."""

    @contextmanager
    def tapping(self, layer: int | None) -> Iterator[list[Tensor]]:
        """Within it, what leaves layer number `layer` (from 0) is appended to the list, `[rows, tokens, dim]` each time
        the model runs on this thread; with None, nothing is."""
        if layer is not None and layer >= len(self.layers):
            raise ConfigError(f"head: layer is {layer} and the backbone has the layers 0 to {len(self.layers) - 1}")
        heard: list[Tensor] = []
        thread = get_ident()

        def hear(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if get_ident() == thread:
                heard.append(output[0] if isinstance(output, tuple) else output)

        hook = None if layer is None else self.layers[layer].register_forward_hook(hear)
        try:
            yield heard
        finally:
            if hook is not None:
                hook.remove()

    def shard_units(self) -> list[nn.Module]:
        """The modules that parallel training shards one by one."""
        return list(self.layers)
