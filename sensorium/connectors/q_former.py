"""The Q-Former (BLIP-2, arXiv 2301.12597, section 3.1): learned queries ask pictures what a text could say of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, Located
from sensorium.connectors.q_former_layer import Attending, FeedForward, Memory, QFormerLayer
from sensorium.connectors.q_former_text import READS, WRITES, QFormerText
from sensorium.errors import ConfigError
from sensorium.initialisation import unit_variance


class Looked(NamedTuple):
    """What queries found in pictures."""

    hidden: Tensor
    """`[n, queries, width]`"""
    memory: list[Memory]
    """keys and values of the queries in each layer, which a text may attend to"""


class QFormer(Connector, name="q-former"):
    """BERT's layers, post-norm, over learned queries that attend to the features in every `cross_every`-th layer.

    With `text`, the layers also read and write texts, which the objectives `image-text-contrastive`,
    `image-text-matching`, `image-grounded-text` and `blip2-stage-1` need: queries and text share the self-attention
    and have feed-forwards of their own, those of the queries beginning as copies of the text's. BLIP-2's text side has
    BERT's tokenizer; here it shares the model's, and has two more tokens that open a text. A later stage drops it by
    the edit `reconfigure` with `connector.text=false`. All weights begin at random, where BLIP-2's are BERT's.
    """

    class Config(Connector.Config):
        queries: int = Field(default=32, ge=1, description="tokens that leave, whatever enters")
        width: int = Field(default=256, ge=8, description="BLIP-2: 768, with depth and num_heads of 12")
        depth: int = Field(default=2, ge=1)
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        cross_every: int = Field(default=2, ge=1, description="layers from one cross-attention to the next")
        norm_eps: float = 1e-12
        dropout: float = Field(default=0.0, ge=0, lt=1, description="BLIP-2: 0.1")
        media_norm: bool = Field(default=False, description="normalise the features first: BLIP-2's ln_vision")
        text: bool = Field(default=False, description="also read and write texts, as the first stage of BLIP-2 wants")
        positions: int = Field(default=512, ge=2, description="the longest text in tokens, with the mark before it")
        joint_dim: int = Field(default=256, ge=1, description="width in which pictures and texts are compared")

        @classmethod
        def example(cls) -> QFormer.Config:
            return cls(queries=4, width=16, num_heads=2, positions=40, joint_dim=8)

        @model_validator(mode="after")
        def _dimensions(self) -> QFormer.Config:
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            return self

        @property
        def reads_text(self) -> bool:
            return self.text

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return self.queries

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
            return None

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        width, common = config.width, (config.num_heads, config.norm_eps, config.dropout)
        self.queries = nn.Parameter(torch.randn(config.queries, width) * 0.02)
        self.media_norm = nn.LayerNorm(in_dim) if config.media_norm else nn.Identity()
        self.norm, self.dropout = nn.LayerNorm(width, config.norm_eps), nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            QFormerLayer(
                Attending(width, width, *common),
                None if number % config.cross_every else Attending(width, in_dim, *common),
                self._feed_forward(),
            )
            for number in range(config.depth)
        )
        self.projection = nn.Linear(width, out_dim)
        self.text: QFormerText | None = None
        self.layers.apply(unit_variance)

    def _feed_forward(self) -> FeedForward:
        config = self.config
        return FeedForward(config.width, round(config.width * config.mlp_ratio), config.norm_eps, config.dropout)

    def attach(self, vocab_size: int) -> None:
        if not self.config.text:
            return
        config, own = self.config, [self._feed_forward() for _ in self.layers]
        self.text = QFormerText(vocab_size, config.positions, config.joint_dim, own, config.norm_eps)
        self.text.apply(unit_variance)
        for layer, words in zip(self.layers, own, strict=True):
            layer.feed_forward.load_state_dict(words.state_dict())  # type: ignore[union-attr, operator]

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without a text side, that of the other config is dropped."""
        return state if self.text else {key: value for key, value in state.items() if not key.startswith("text.")}

    @property
    def words(self) -> QFormerText:
        """The text side; a `ConfigError` if there is none."""
        if self.text is None:
            raise ConfigError("connector 'q-former' reads no text; set model.connector.text=true")
        return self.text

    def forward(self, features: Tensor) -> Tensor:
        return self.projection(self.look(features).hidden)

    def look(self, features: Tensor) -> Looked:
        """What the queries, which see each other and no text, find in `features` `[n, tokens, in_dim]`."""
        return self._run(self._opened(self.queries.expand(len(features), -1, -1)), features)

    def read(self, ids: Tensor) -> Tensor:
        """Texts by themselves, int64 `[n, tokens]` with -1 behind the end, to `[n, width]` at the mark before them:
        the unimodal mask."""
        embeddings, real = self.words.embed(ids, READS)
        return self._run(self._opened(embeddings), None, real[:, None, None]).hidden[:, 0]

    def match(self, features: Tensor, ids: Tensor) -> Tensor:
        """Whether texts belong to pictures, logits `[n, 2]` of no and yes, the mean of all queries': the bidirectional
        mask, queries and text all seeing each other."""
        embeddings, real = self.words.embed(ids, READS)
        queries = self.queries.expand(len(ids), -1, -1)
        seen = torch.cat([real.new_ones(queries.shape[:2]), real], dim=1)[:, None, None]
        hidden = self._run(self._opened(torch.cat([queries, embeddings], dim=1)), features, seen).hidden
        return self.words.match(hidden[:, : queries.shape[1]]).mean(dim=1)

    def write(self, memory: list[Memory], ids: Tensor) -> Tensor:
        """Hidden states `[n, tokens, width]` from which each of `ids` is to be predicted: the multimodal causal mask, a
        token seeing all queries, whose `memory` is that of `look`, and the tokens before it."""
        embeddings, _ = self.words.embed(ids[:, :-1], WRITES)
        count = embeddings.shape[1]
        before = embeddings.new_ones(count, self.config.queries, dtype=torch.bool)
        causal = embeddings.new_ones(count, count, dtype=torch.bool).tril()
        mask = torch.cat([before, causal], dim=1)[None, None]
        return self._run(self._opened(embeddings), None, mask, memory).hidden

    def _opened(self, embeddings: Tensor) -> Tensor:
        return self.dropout(self.norm(embeddings))

    def _run(
        self, hidden: Tensor, features: Tensor | None, mask: Tensor | None = None, before: list[Memory] | None = None
    ) -> Looked:
        """All layers; queries come first, and are there if `features` are."""
        queries = 0 if features is None else self.config.queries
        seen, words = None if features is None else self.media_norm(features), hidden.shape[1] > queries
        memory = []
        for number, layer in enumerate(self.layers):
            feed = self.words.feed_forwards[number] if words else None
            hidden, kept = layer(hidden, queries, seen, feed, mask, before and before[number])
            memory.append(kept)
        return Looked(hidden, memory)

    def located(self, features: Tensor) -> Located:
        """Queries have no places; a cell of the grid is what the first layer that looks would hand on of that cell
        alone, to no query: layers that learned from one query and one cell would be deaf to which query asks."""
        cells = features[:, features.shape[1] - self.grid[0] * self.grid[1] :]
        layers = (layer for layer in self.layers if isinstance(layer, QFormerLayer))
        looking = next(layer.looking for layer in layers if layer.looking is not None)
        return Located(self.projection(looking.handed(self.media_norm(cells))).unflatten(1, self.grid))

    def shard_units(self) -> list[nn.Module]:
        return list(self.layers)
