"""MLM-Filter: a multimodal model is asked to grade a pair."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import asked, caption_of, decoded
from sensorium.curation.step import Kind, Scorer
from sensorium.generation.engine import generate
from sensorium.sample import Sample

CRITERIA = {
    "matching": "how well the caption agrees with what the picture shows",
    "details": "how exactly the caption describes objects: their colour, size, position, shape and material",
    "text": "the caption's grammar, choice of words, fluency and structure, whatever the picture shows",
    "semantics": "how much the caption tells that cannot be read from the picture: names, places, relations, events",
}
QUESTION = (
    "Caption: {caption}\nGrade {criterion}. Reply with one whole number from 0 (worst) to 100 (best), using the whole "
    "range, and with nothing else."
)


class MLMFilter(Scorer, name="mlm-filter"):
    """Four grades from 0 to 100 that a model gives when asked: `matching` of picture and text, object `details`,
    quality of the `text`, and `semantics` (Wang et al., arXiv 2403.02677, section 3; the wording is ours). A reply
    without a number is no grade. Open-Qwen2VL (arXiv 2504.00595) keeps pairs with semantics of at least 85.

    The grades are worth what the model has learned of grading: the paper fine-tunes one on 4000 grades of GPT-4V.
    """

    version = 2  # pictures of captions were outside the turn that asks about them

    class Config(Scorer.Config):
        checkpoint: Path = Field(description="a run or a model that can grade")

        @property
        def columns(self) -> dict[str, Kind]:
            return dict.fromkeys(CRITERIA, "number")

        def behind(self) -> str:
            return weights_digest(self.checkpoint)

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.model = load_frozen(config.checkpoint)

    def read(self, sample: Sample) -> list[Sample]:
        """The four questions; a `DataError` if one does not fit the model's context."""
        caption = caption_of(sample)
        questions = [QUESTION.format(caption=caption, criterion=criterion) for criterion in CRITERIA.values()]
        shown = decoded(sample)
        prompts = [asked(shown, question) for question in questions]
        for prompt in prompts:
            self.model.layout(prompt, reply="assistant")
        return prompts

    def score(self, items: Sequence[list[Sample]]) -> list[tuple[float, ...]]:
        replies = generate(self.model, [prompt for prompts in items for prompt in prompts], max_tokens=8)
        size = len(CRITERIA)
        return [tuple(map(grade, replies[at : at + size])) for at in range(0, len(replies), size)]


def grade(reply: str) -> float:
    """The first number from 0 to 100 in a reply; NaN if there is none."""
    for found in re.findall(r"(?<![\d.,-])\d+(?:\.\d+)?", reply):
        if float(found) <= 100:
            return float(found)
    return math.nan
