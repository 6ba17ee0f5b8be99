"""Two towers: a small model of whether a picture and a text belong together, trained by contrast in minutes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.curation.words import grams, hashed, words_of
from sensorium.encoders.encoder import Encoder


class Towers(nn.Module):
    """Pictures through an encoder, mean and maximum of its features, and two layers; texts as a bag of hashed words and
    pairs of words, and two layers. Both come out with length 1."""

    def __init__(self, encoder: Encoder, dim: int, buckets: int) -> None:
        super().__init__()
        self.encoder, self.buckets = encoder, buckets
        shape: Any = encoder.config
        features = 2 * shape.dim
        self.see = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 2 * dim), nn.GELU(),
                                 nn.Linear(2 * dim, dim))  # fmt: skip
        self.words = nn.EmbeddingBag(buckets, dim, mode="mean")
        self.say = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(),
                                 nn.Linear(2 * dim, dim))  # fmt: skip
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def pictures(self, tiles: Tensor) -> Tensor:
        """uint8 `[n, 3, height, width]` to unit vectors `[n, dim]`."""
        features = self.encoder(tiles)
        return F.normalize(self.see(torch.cat([features.mean(1), features.amax(1)], dim=-1)), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors `[n, dim]`."""
        bags = [[hashed(g) % self.buckets for k in (1, 2) for g in grams(words_of(t), k)] for t in texts]
        starts = torch.tensor([0, *(len(bag) for bag in bags[:-1])]).cumsum(0)
        ids = torch.tensor([id for bag in bags for id in bag], dtype=torch.int64)
        return F.normalize(self.say(self.words(ids, starts)), dim=-1)

    def contrast(self, tiles: Tensor, texts: Sequence[str]) -> Tensor:
        """The symmetric InfoNCE loss of pairs (CLIP, arXiv 2103.00020, figure 3), a mean over the batch."""
        logits = self.scale.clamp(max=math.log(100.0)).exp() * self.pictures(tiles) @ self.texts(texts).T
        own = torch.arange(len(logits))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
