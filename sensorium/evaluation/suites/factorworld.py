"""How well a model sees FactorWorld: short answers by question type and split, and objects named in captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pydantic import Field

from sensorium.data.source import Source
from sensorium.data.worlds.language import caption_hits
from sensorium.data.worlds.scene import Split
from sensorium.evaluation.suite import Case, Metric, Report, Suite, proportion
from sensorium.generation.engine import generate
from sensorium.sample import Sample, Text

Progress = Callable[[str, int, int], None]


class FactorWorldSuite(Suite, name="factorworld"):
    """Every question is asked by itself about a picture of a held-out split; an answer counts if it is the very word.

    Metrics: `accuracy` (all questions of unseen scenes), `accuracy/<type>`, `accuracy/<other split>`,
    `chance` (guessing among the possible answers of each question); of objects by colour and shape, over all captions,
    `caption/precision`, `caption/recall` and their harmonic mean `caption/f1`.
    """

    class Config(Suite.Config):
        world: Source.Config = Field(
            description="a factorworld source in chat style; split, style and seed are set here"
        )
        questions: int = Field(
            default=1200, ge=0, description="questions about unseen scenes; each other split gets a third"
        )
        captions: int = Field(default=150, ge=0, description="pictures to describe")
        splits: tuple[Split, ...] = ("unseen-combinations", "more-objects", "unseen-backgrounds")
        seed: int = Field(default=77, description="scenes of another seed are other scenes")

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        metrics, cases = self._answers(model, blind, progress) if self.config.questions else ({}, [])
        captions, hits = self._describe(model, blind, progress) if self.config.captions else ([], {})
        return Report("factorworld", metrics | hits, cases + captions)

    def _answers(self, model: Any, blind: bool, progress: Progress | None) -> tuple[dict[str, Metric], list[Case]]:
        cases = self._ask(model, "unseen-scenes", self.config.questions, blind, progress)
        metrics = {"accuracy": _share(cases)}
        for kind in sorted({case.kind for case in cases}):
            metrics[f"accuracy/{kind}"] = _share([case for case in cases if case.kind == kind])
        metrics["chance"] = Metric(*_chance(cases))
        for split in self.config.splits:
            others = self._ask(model, split, self.config.questions // 3, blind, progress)
            metrics[f"accuracy/{split}"] = _share(others)
            cases += others
        return metrics, cases

    def _source(self, split: str, style: str) -> Any:
        return self.config.world.override(f"split={split}", f"style={style}", f"seed={self.config.seed}").build()

    def _ask(self, model: Any, split: str, count: int, blind: bool, progress: Progress | None) -> list[Case]:
        asked = []
        source = self._source(split, "chat")
        for index in range(len(source)):
            asked += questions(source[index])
            if len(asked) >= count:
                break
        asked = asked[:count]
        prompts = [case.sample.blind() if blind else case.sample for case in asked]
        answers = generate(model, prompts, max_tokens=8, on_done=_told(progress, split, len(asked)))
        return [replace(case, answer=answer) for case, answer in zip(asked, answers, strict=True)]

    def _describe(self, model: Any, blind: bool, progress: Progress | None) -> tuple[list[Case], dict[str, Metric]]:
        source = self._source("unseen-scenes", "short")
        samples = [source[index] for index in range(self.config.captions)]
        prompts = [replace(sample, segments=sample.segments[:-1]) for sample in samples]
        shown = [prompt.blind() if blind else prompt for prompt in prompts]
        texts = generate(model, shown, max_tokens=100, on_done=_told(progress, "captions", len(samples)))
        language = source.config.language
        hits = [caption_hits(text, s.meta["scene"], language) for text, s in zip(texts, samples, strict=True)]
        right, named, present = (sum(column) for column in zip(*hits, strict=True))
        cases = [
            Case(prompt, _text(sample, -2), text, _text(sample, -1), "caption")
            for prompt, sample, text in zip(prompts, samples, texts, strict=True)
        ]
        found = {"precision": named, "recall": present, "f1": round((named + present) / 2)}
        return cases, {f"caption/{name}": proportion(right, n) for name, n in found.items()}


def questions(sample: Sample) -> Iterator[Case]:
    """A chat's turns as single questions about its picture."""
    facts: Any = sample.meta["questions"]
    for fact in facts:
        alone = replace(sample, segments=(*sample.images, Text(fact["question"])), meta=fact)
        yield Case(alone, fact["question"], "", fact["answer"], fact["type"])


def _share(cases: list[Case]) -> Metric:
    return proportion(sum(case.correct for case in cases), len(cases))


def _chance(cases: list[Case]) -> tuple[float, int, tuple[float, float]]:
    by_kind: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        choices: Any = case.sample.meta["choices"]
        by_kind[case.kind].append(1 / len(choices))
    shares = [share for each in by_kind.values() for share in each]
    mean = sum(shares) / len(shares) if shares else 0.0
    return mean, len(shares), (mean, mean)


def _text(sample: Sample, place: int) -> str:
    segment = sample.segments[place]
    assert isinstance(segment, Text)
    return segment.text


def _told(progress: Progress | None, label: str, total: int) -> Callable[[int], None] | None:
    return (lambda done: progress(label, done, total)) if progress else None
