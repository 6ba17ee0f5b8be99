"""Self-consistency: several answers of a model, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import caption_of, decoded
from sensorium.curation.scorers.text_features import TextFeatures
from sensorium.curation.step import Kind, Scorer
from sensorium.errors import DataError
from sensorium.generation.engine import generate
from sensorium.sample import Sample


class Consistency(Scorer, name="consistency"):
    """A model answers the sample's last question several times; each answer's score is the mean cosine to all, itself
    included; `answer` is the one with the highest and `agreement` its score (SIcog, Zhang et al., arXiv 2503.12303:
    six candidates at temperature 0.7 and nucleus 0.9, kept from 0.8, 0.85 or 0.9 upwards). `recorded` is the cosine of
    `answer` to what the sample itself says.

    Texts are compared as hashed words here, by an embedding model there.
    """

    class Config(Scorer.Config):
        checkpoint: Path = Field(description="a run or a model")
        answers: int = Field(default=6, ge=2)
        temperature: float = Field(default=0.7, gt=0)
        top_p: float = Field(default=0.9, gt=0, le=1)
        max_tokens: int = Field(default=64, ge=1)
        seed: int = 0

        @property
        def columns(self) -> dict[str, Kind]:
            return {"agreement": "number", "recorded": "number", "answer": "text"}

        def behind(self) -> str:
            return weights_digest(self.checkpoint)

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.model = load_frozen(config.checkpoint)
        self.features = TextFeatures(TextFeatures.Config(), fitted)

    def read(self, sample: Sample) -> tuple[Sample, str]:
        """The sample up to its last turn, and what stands there."""
        *before, last = sample.turns()
        if last[-1].role != "assistant" or not before:
            raise DataError(f"{sample.name}: does not end with a question and its answer; use samples that do")
        kept = tuple(segment for turn in before for segment in turn)
        prompt = decoded(replace(sample, segments=kept))
        self.model.layout(prompt, reply="assistant")
        return prompt, caption_of(replace(sample, segments=tuple(last)))

    def score(self, items: Sequence[tuple[Sample, str]]) -> list[tuple[float, float, str]]:
        config = self.config
        replies = generate(
            self.model,
            [prompt for prompt, _ in items for _ in range(config.answers)],
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
        )
        answers = [replies[at : at + config.answers] for at in range(0, len(replies), config.answers)]
        return [self._row(said, own) for said, (_, own) in zip(answers, items, strict=True)]

    def _row(self, said: list[str], own: str) -> tuple[float, float, str]:
        vectors = self.features.unit([*said, own])
        best, agreement = agreed(vectors[:-1])
        return agreement, float(vectors[best] @ vectors[-1]), said[best]


def agreed(vectors: np.ndarray) -> tuple[int, float]:
    """(place, score) of the unit vector with the highest mean cosine to all, itself included; of equals the first."""
    scores = (vectors @ vectors.T).mean(axis=1).round(6)
    return int(scores.argmax()), float(scores.max())
