"""The head contract: hidden states to outputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from sensorium.config import Part, PartConfig

if TYPE_CHECKING:
    from sensorium.heads.embedding import EmbeddingHead


class Head(nn.Module, Part, family="head", package="sensorium.heads"):
    """Reads hidden states of any leading shape. It is built with the backbone's output `weight` `[vocab, dim]` and
    `bias` `[vocab]`, if there is one, and the `media_dim` of features, of which it may use what it needs."""

    writes = True
    """Whether `forward` gives logits over the vocabulary, from which text is written."""

    embeds = False
    """Whether `embedding` is there."""

    class Config(PartConfig):
        pass

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor: ...

    @property
    def embedding(self) -> EmbeddingHead | None:
        """What makes embeddings of pictures and texts; None in heads that do not."""
        return None

    def settle(self) -> None:
        """Bring weights back into their bounds: called after each step of training."""
