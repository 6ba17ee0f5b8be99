"""Which of ten captions is the picture's? Chosen by likelihood, on pictures that were held out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from pydantic import Field

from sensorium.data.records import normal
from sensorium.data.source import Source
from sensorium.encoders.cache import cached_features
from sensorium.errors import DataError
from sensorium.evaluation.suite import Case, Metric, Report, Suite, proportion
from sensorium.fusion.inline import Inline
from sensorium.generation.branches import branch_likelihoods
from sensorium.generation.engine import generate
from sensorium.generation.likelihood import likelihoods, replies
from sensorium.sample import Sample, Text

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Choice:
    """A question about a picture, and captions of which one, at `right`, is the picture's."""

    prompt: Sample
    captions: tuple[str, ...]
    right: int

    @property
    def question(self) -> str:
        return next((s.text for s in reversed(self.prompt.segments) if isinstance(s, Text)), "")


class Likelihood(NamedTuple):
    """The log-likelihood of a text in nats, and its tokens."""

    total: float
    tokens: float

    @property
    def mean(self) -> float:
        return self.total / self.tokens


class CaptionChoice(Suite, name="caption-choice"):
    """The source gives chats; the last answer of each is its picture's caption. The wrong captions are drawn from
    those of the other pictures, all of them different texts, the same ones at every run.

    Metrics: `accuracy`, the headline, chooses by what the picture adds: log-likelihood with the picture less that
    without it, per token (pointwise mutual information). `accuracy/likelihood` chooses by the log-likelihood of the
    whole caption alone, `accuracy/likelihood-per-token` by that divided by its tokens. `chance` is one in as many as
    there are options. A model without pictures has nothing to add, so its `accuracy` is chance by construction and the
    two others are what language alone gives it.
    """

    class Config(Suite.Config):
        source: Source.Config = Field(description="held-out pictures, as chats that end with the caption")
        options: int = Field(default=10, ge=2, description="captions to choose from")
        pictures: int | None = Field(default=None, ge=1, description="how many are asked about; by default all")
        prose: int = Field(default=10, ge=0, description="pictures that the model also describes in its own words")
        seed: int = Field(default=0, description="another seed draws other wrong captions")

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        asked = choices(self.config.source.build(), self.config.options, self.config.pictures, self.config.seed)
        with torch.inference_mode(), cached_features(model.encoder):
            unseen = self._unseen(model, asked)
            hits: Counter[str] = Counter()
            for number, choice in enumerate(asked):
                seen = likelihood(model, choice.prompt.blind() if blind else choice.prompt, choice.captions)
                base = [unseen[choice.question, caption] for caption in choice.captions]
                gain = [with_it.mean - without.mean for with_it, without in zip(seen, base, strict=True)]
                hits["accuracy"] += _best(gain) == choice.right
                hits["accuracy/likelihood"] += _best([one.total for one in seen]) == choice.right
                hits["accuracy/likelihood-per-token"] += _best([one.mean for one in seen]) == choice.right
                if progress:
                    progress("captions", number + 1, len(asked))
            cases = self._prose(model, asked, blind)
        metrics = {name: proportion(count, len(asked)) for name, count in hits.items()}
        chance = 1 / self.config.options
        return Report("caption-choice", metrics | {"chance": Metric(chance, len(asked), (chance, chance))}, cases)

    def _unseen(self, model: Any, asked: Sequence[Choice]) -> dict[tuple[str, str], Likelihood]:
        """The likelihood of every (question, caption) without a picture, each computed once."""
        by_question: dict[str, tuple[Sample, dict[str, None]]] = {}
        for choice in asked:
            _, captions = by_question.setdefault(choice.question, (choice.prompt.blind(), {}))
            captions.update(dict.fromkeys(choice.captions))
        found = {}
        for question, (prompt, captions) in by_question.items():
            texts = list(captions)
            for start in range(0, len(texts), self.config.options):
                some = texts[start : start + self.config.options]
                scores = likelihood(model, prompt, some)
                found |= {(question, text): score for text, score in zip(some, scores, strict=True)}
        return found

    def _prose(self, model: Any, asked: Sequence[Choice], blind: bool) -> list[Case]:
        step = max(1, len(asked) // max(1, self.config.prose))
        shown = asked[::step][: self.config.prose]
        prompts = [choice.prompt.blind() if blind else choice.prompt for choice in shown]
        texts = generate(model, prompts, max_tokens=32) if prompts else []
        return [
            Case(choice.prompt, choice.question, text, choice.captions[choice.right], "prose")
            for choice, text in zip(shown, texts, strict=True)
        ]


def likelihood(model: Any, prompt: Sample, captions: Sequence[str]) -> list[Likelihood]:
    """How likely each caption is as the reply."""
    if isinstance(model.fusion, Inline):
        return [Likelihood(*found) for found in branch_likelihoods(model, prompt, captions)]
    totals, counts = likelihoods(model, replies(model, prompt, captions))
    return [Likelihood(*found) for found in zip(totals.tolist(), counts.tolist(), strict=True)]


def choices(source: Source, options: int, pictures: int | None, seed: int) -> list[Choice]:
    """One choice a picture. A `DataError` if there are too few different captions or a sample is no chat."""
    samples = [source[index] for index in range(min(len(source), pictures or len(source)))]
    captions = {normal(text): text for text in (_answer(sample) for sample in samples)}
    if len(captions) < options:
        raise DataError(f"{len(captions)} different captions in {len(samples)} samples; {options} options need more")
    asked = []
    for sample in samples:
        caption = _answer(sample)
        dice = random.Random(f"{seed}/{sample.id}")
        wrong = dice.sample([text for key, text in captions.items() if key != normal(caption)], options - 1)
        right = dice.randrange(options)
        prompt = replace(sample, segments=sample.segments[:-1])
        asked.append(Choice(prompt, (*wrong[:right], caption, *wrong[right:]), right))
    return asked


def _answer(sample: Sample) -> str:
    last = sample.segments[-1]
    if not isinstance(last, Text) or last.role != "assistant":
        raise DataError(f"{sample.name}: does not end with an answer; give the suite a source in style 'chat'")
    return last.text


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
