"""MinHash: texts that share most of their runs of words have signatures that agree in most places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.curation.pairs import text_of
from sensorium.curation.step import Kind, Scorer
from sensorium.curation.words import grams, hashed, words_of
from sensorium.data.worlds.dice import Dice
from sensorium.errors import DataError
from sensorium.sample import Sample


class MinHash(Scorer, name="minhash"):
    """`signature`: for each of `permutations` random hash functions the least hash of a run of `gram` words. The share
    of places in which two agree is an estimate of the Jaccard similarity of the two texts' sets of runs, unbiased and
    with variance J (1 - J) / permutations (Broder, "On the resemblance and containment of documents", 1997)."""

    class Config(Scorer.Config):
        gram: int = Field(default=3, ge=1, description="words in a run")
        permutations: int = Field(default=128, ge=1)
        seed: int = 0

        @property
        def columns(self) -> dict[str, Kind]:
            return {"signature": "hashes"}

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        dice = Dice("minhash", config.seed)
        draws = [(dice.below(1 << 32), dice.below(1 << 32)) for _ in range(2 * config.permutations)]
        numbers = np.array([high << 32 | low for high, low in draws], np.uint64)
        self.factors, self.terms = numbers[::2] | np.uint64(1), numbers[1::2]

    def read(self, sample: Sample) -> np.ndarray:
        runs = {hashed(run) for run in grams(words_of(text_of(sample)), self.config.gram)}
        if not runs:
            raise DataError(f"{sample.name}: has no words; correct or remove it")
        return np.array(sorted(runs), np.uint64)

    def score(self, items: Sequence[np.ndarray]) -> list[tuple[np.ndarray]]:
        return [(self.signature(runs),) for runs in items]

    def signature(self, runs: np.ndarray) -> np.ndarray:
        """uint64 `[permutations]`: multiply-shift hashing modulo 2^64, folded so that high bits reach low ones."""
        mixed = runs[:, None] * self.factors + self.terms
        mixed ^= mixed >> np.uint64(32)
        mixed *= self.factors
        return (mixed ^ mixed >> np.uint64(29)).min(axis=0)
