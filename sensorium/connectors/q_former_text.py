"""The text side of a Q-Former: what its first stage of training needs beside the queries (BLIP-2, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.connectors.q_former_layer import FeedForward
from sensorium.errors import ConfigError

READS, WRITES = 0, 1
"""Marks that open a text: BERT's [CLS] where it is read, BLIP-2's [DEC] where it is written. They are the last two
tokens of the text side's vocabulary, behind those of the tokenizer."""


class QFormerText(nn.Module):
    """Words, their places, feed-forwards for them, and what is said of them: projections to where pictures and texts
    are compared, whether they match, the next word."""

    def __init__(
        self, vocab_size: int, positions: int, joint_dim: int, feed_forwards: list[FeedForward], norm_eps: float
    ) -> None:
        super().__init__()
        width = feed_forwards[0].down.out_features
        self.vocab_size = vocab_size
        self.embedding, self.positions = nn.Embedding(vocab_size + 2, width), nn.Embedding(positions, width)
        self.feed_forwards = nn.ModuleList(feed_forwards)
        self.picture_projection, self.text_projection = nn.Linear(width, joint_dim), nn.Linear(width, joint_dim)
        self.match = nn.Linear(width, 2)
        self.transform, self.transform_norm = nn.Linear(width, width), nn.LayerNorm(width, norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size + 2))
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def embed(self, ids: Tensor, mark: int) -> tuple[Tensor, Tensor]:
        """`ids` int64 `[n, tokens]`, -1 behind the end, to embeddings `[n, 1 + tokens, width]` behind the mark, and
        which of them are real, bool `[n, 1 + tokens]`."""
        if (count := ids.shape[1] + 1) > len(self.positions.weight):
            raise ConfigError(
                f"connector 'q-former': texts of {count} tokens with their mark, and {len(self.positions.weight)} "
                "positions; raise model.connector.positions, or lower the objective's longest"
            )
        opened = F.pad(ids, (1, 0), value=self.vocab_size + mark)
        places = torch.arange(count, device=ids.device)
        return self.embedding(opened.clamp(min=0)) + self.positions(places), opened >= 0

    def logits(self, hidden: Tensor) -> Tensor:
        """`[..., width]` to logits of the next token, `[..., vocab_size + 2]`, tied to the embedding."""
        return F.linear(self.transform_norm(F.gelu(self.transform(hidden))), self.embedding.weight, self.bias)
