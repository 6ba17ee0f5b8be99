"""Logits to write with and embeddings to compare, from one model (CoCa, arXiv 2205.01917; CosMo, arXiv 2401.00849)."""

from __future__ import annotations

from typing import Self

from pydantic import Field
from torch import Tensor

from sensorium.heads.embedding import EmbeddingHead
from sensorium.heads.head import Head
from sensorium.heads.token import TokenHead


class TokenAndEmbedding(Head, name="token-and-embedding"):
    """The heads `token` and `embedding` side by side. A tied output weight belongs to the backbone alone, so that a
    language model can rest while its embeddings are learned."""

    embeds = True

    class Config(Head.Config):
        token: TokenHead.Config = TokenHead.Config()
        embedding: EmbeddingHead.Config = Field(default=EmbeddingHead.Config(), description="what is embedded, and how")

        def miniature(self) -> Self:
            return self.model_copy(update={"embedding": self.embedding.miniature()})

    def __init__(self, config: Config, weight: Tensor, bias: Tensor | None, media_dim: int) -> None:
        super().__init__()
        self.config = config
        token = config.token.build(weight=weight, bias=bias, media_dim=media_dim)
        if not config.token.tied:
            self.token = token
        self.writing = (token,)  # in a tuple, where torch does not look for parameters
        self.embedder = config.embedding.build(weight=weight, bias=bias, media_dim=media_dim)

    @property
    def embedding(self) -> EmbeddingHead:
        return self.embedder

    @property
    def weight(self) -> Tensor:
        """`[vocab, dim]`: what logits are made with."""
        return self.writing[0].weight

    def forward(self, hidden: Tensor) -> Tensor:
        """`[..., dim]` to logits `[..., vocab]`."""
        return self.writing[0](hidden)

    def settle(self) -> None:
        self.embedder.settle()
