"""Self-consistency: several answers of a model, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import asked, caption_of, decoded
from sensorium.curation.scorers.text_features import TextFeatures
from sensorium.curation.step import Kind, Scorer
from sensorium.errors import DataError
from sensorium.generation.engine import generate
from sensorium.sample import Sample


class Consistency(Scorer, name="consistency"):
    """A model answers the sample's last question several times, or in turn some `questions` about its pictures; each
    answer's score is the mean cosine to all, itself included; `answer` is the one with the highest, unless it was cut
    at `max_tokens`, and `agreement` its score (SIcog, Zhang et al., arXiv 2503.12303: six candidates at temperature 0.7
    and nucleus 0.9, of which some are asked for step by step, kept from 0.8, 0.85 or 0.9 upwards). `recorded` is the
    cosine of `answer` to what the sample itself says.

    Texts are compared as hashed words here, by an embedding model there.
    """

    version = 2  # answers that were cut are none

    class Config(Scorer.Config):
        checkpoint: Path = Field(description="a run or a model")
        answers: int = Field(default=6, ge=2)
        questions: tuple[str, ...] = Field(default=(), description="asked instead, each as often as the others")
        after: str = Field(
            default="",
            description='a mark such as "Step 5:"; of a reply that has it, what follows it at last is the answer',
        )
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

    def read(self, sample: Sample) -> tuple[list[Sample], str]:
        """The prompts, one an answer, and what the sample says itself."""
        if self.config.questions:
            shown, own = decoded(sample), caption_of(sample)
            prompts = [asked(shown, question) for question in self.config.questions]
        else:
            prompt, own = last_question(sample)
            prompts = [decoded(prompt)]
        for prompt in prompts:
            self.model.layout(prompt, reply="assistant")
        return [prompts[number % len(prompts)] for number in range(self.config.answers)], own

    def score(self, items: Sequence[tuple[list[Sample], str]]) -> list[tuple[float, float, str]]:
        config, cut = self.config, set[int]()
        replies = generate(
            self.model,
            [prompt for prompts, _ in items for prompt in prompts],
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
            on_cut=cut.add,
        )
        said = [reply.rpartition(config.after)[2].strip() if config.after else reply for reply in replies]
        rows = []
        for start, (prompts, own) in zip(range(0, len(said), config.answers), items, strict=True):
            vectors = self.features.unit([*said[start : start + len(prompts)], own])
            best, agreement = agreed(vectors[:-1])
            answer = "" if start + best in cut else said[start + best]
            rows.append((agreement, float(vectors[best] @ vectors[-1]), answer))
        return rows


def last_question(sample: Sample) -> tuple[Sample, str]:
    """The sample up to its last turn, and what stands there; a `DataError` if that is no answer."""
    *before, last = sample.turns()
    if last[-1].role != "assistant" or not before:
        raise DataError(f"{sample.name}: does not end with a question and its answer; use samples that do")
    kept = tuple(segment for turn in before for segment in turn)
    return replace(sample, segments=kept), caption_of(replace(sample, segments=tuple(last)))


def agreed(vectors: np.ndarray) -> tuple[int, float]:
    """(place, score) of the unit vector with the highest mean cosine to all, itself included; of equals the first."""
    scores = (vectors @ vectors.T).mean(axis=1).round(6)
    return int(scores.argmax()), float(scores.max())
