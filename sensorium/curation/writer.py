"""Base of the scorers that have a model write a text for each sample."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.step import Kind, Scorer
from sensorium.generation.engine import generate
from sensorium.sample import Sample


class Writer(Scorer):
    """`text`: what a model replies to a prompt about the sample, without the sentences that hold artefacts. Of a reply
    that has not ended at `max_tokens` or at the end of the context, the last sentence is left out. Nothing is no text.
    """

    class Config(Scorer.Config):
        checkpoint: Path = Field(description="a run or a model that can do it")
        max_tokens: int = Field(default=128, ge=1)
        temperature: float = Field(default=0.0, ge=0, description="0 is greedy")
        top_p: float = Field(default=1.0, gt=0, le=1)
        seed: int = 0
        artefacts: tuple[str, ...] = Field(
            default=(), description="sentences with one of these words are left out, in any case (KALE, 2411.07461)"
        )

        @property
        def columns(self) -> dict[str, Kind]:
            return {"text": "text"}

        def behind(self) -> str:
            return weights_digest(self.checkpoint)

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.model = load_frozen(config.checkpoint)

    @abstractmethod
    def prompt(self, sample: Sample) -> Sample:
        """What the model is asked; a `DataError` for a sample of which it cannot be."""

    def read(self, sample: Sample) -> Sample:
        """The prompt; a `DataError` if it does not fit the model's context."""
        prompt = self.prompt(sample)
        self.model.layout(prompt, reply="assistant")
        return prompt

    def score(self, items: Sequence[Sample]) -> list[tuple[str, ...]]:
        return [(without_sentences(reply, self.config.artefacts),) for reply in self.replies(items)]

    def replies(self, prompts: Sequence[Sample]) -> list[str]:
        """What the model says, in the config's manner, and as far as it is whole."""
        config, cut = self.config, set[int]()
        said = generate(
            self.model,
            prompts,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
            on_cut=cut.add,
        )
        return [self.whole(reply) if number in cut else reply for number, reply in enumerate(said)]

    def whole(self, reply: str) -> str:
        """What is of use of a reply that was cut."""
        return "".join(re.findall(r".*[.!?](?=\s)", reply, re.DOTALL))


def filled(instruction: str, values: Mapping[str, str]) -> str:
    """An instruction with `{name}` replaced, once: braces in what is put in are plain text."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), instruction)


def without_sentences(text: str, words: Sequence[str]) -> str:
    """A text without the sentences that hold one of the words."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(s for s in sentences if not any(word.lower() in s.lower() for word in words)) if words else text
