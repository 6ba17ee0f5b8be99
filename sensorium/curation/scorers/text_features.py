"""Texts as vectors, without a model: hashed words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sensorium.curation.pairs import caption_of
from sensorium.curation.step import Kind, Scorer
from sensorium.curation.words import grams, hashed, words_of
from sensorium.sample import Sample


class TextFeatures(Scorer, name="text-features"):
    """`vector`: words and pairs of words of what is supervised, each added with a sign at one of `dim` places, both
    by its hash (Weinberger et al., "Feature hashing for large scale multitask learning", arXiv 0902.2206)."""

    class Config(Scorer.Config):
        dim: int = Field(default=512, ge=2)

        @property
        def columns(self) -> dict[str, Kind]:
            return {"vector": "vector"}

    config: Config

    def read(self, sample: Sample) -> list[str]:
        return words_of(caption_of(sample))

    def score(self, items: Sequence[list[str]]) -> list[tuple[np.ndarray]]:
        return [(self.vector(words),) for words in items]

    def vector(self, words: list[str]) -> np.ndarray:
        """float32 `[dim]`"""
        vector = np.zeros(self.config.dim, np.float32)
        for length in (1, 2):
            for run in grams(words, length):
                bits = hashed(run)
                vector[(bits >> 1) % self.config.dim] += 1 if bits & 1 else -1
        return vector

    def unit(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as vectors of length 1, `[n, dim]`; zeros for a text without words."""
        vectors = np.stack([self.vector(words_of(text)) for text in texts])
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
