"""mmSSR (arXiv 2503.13383): the best for each capability, spread over styles, against chance at three budgets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.curation.step import Scorer
from sensorium.data.source import Source
from sensorium.evaluation.suites.likelihood import LikelihoodSuite
from sensorium.recipe import Recipe, Share
from sensorium.recipes.demo import MODEL, world
from sensorium.studies.captioner import eyes, learner
from sensorium.studies.choosing import Chosen
from sensorium.studies.spoilt import scorer, selector
from sensorium.studies.study import Arm, Claim, Study, study
from sensorium.tokenizers.bpe import BPE

CAPABILITIES = ("existence", "count", "colour", "shape", "size", "relation")
"""What FactorWorld's types of questions need."""

FEW = (1, 2)
"""Objects in a scene: what a minute's training can learn to answer about."""

POOL: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.35, {"style": "short"}),
    (0.30, {"questions": ("existence",), "turns": 2}),
    (0.08, {"questions": ("count",), "turns": 1}),
    (0.08, {"questions": ("colour", "shape"), "turns": 2}),
    (0.05, {"questions": ("size",), "turns": 2}),
    (0.05, {"questions": ("relation",), "turns": 1}),
    (0.05, {"questions": ("existence",), "turns": 2, "language": "de"}),
    (0.04, {"language": "de"}),
)
"""Shares of a pool of instructions. Most of it is easy and the same again, and what is rare is examined as much as what
is frequent; that a pool is so is the premise of a selection by capabilities."""

BUDGETS = {5: "93.2 % against 89.3 %", 10: "94.8 % against 91.7 %", 30: "99.1 % against 95.8 %"}
"""Per cent of the pool, and of full performance that the paper reports for mmSSR and for chance."""

BILINGUAL = MODEL.model_copy(
    update={"tokenizer": BPE.Config(vocab_size=768, corpus=(*MODEL.tokenizer.corpus, world(language="de")))}  # type: ignore[attr-defined]
)


@dataclass(frozen=True)
class Size:
    """Samples in the pool, and the share of them that is annotated; steps of training; held-out samples of each
    capability in each language."""

    pool: int = 20_000
    annotated: float = 0.02
    eyes: int = 400
    learner: int = 200
    samples: int = 150


@dataclass(frozen=True)
class Instructions:
    """Chats and captions in two languages, whose capabilities and styles are learned from a few."""

    size: Size

    def pool(self, seed: int, part: float = 1.0) -> list[Source.Config]:
        """The pool of a seed, or the first part of each of its sources."""
        return [
            world(seed=1000 + seed, scenes=max(1, round(share * part * self.size.pool)), objects=FEW, **changes)
            for share, changes in POOL
        ]

    def scorers(self, seed: int, shared: Path) -> list[Scorer.Config]:
        annotated = [source.to_dict() for source in self.pool(seed, self.size.annotated)]
        fields = [f"asks.{capability}" for capability in CAPABILITIES]
        part = {"type": "capabilities", "annotated": annotated, "capabilities": fields, "style": "style"}
        return [scorer(part)]

    def learner(self, data: tuple[Share, ...], seed: int, shared: Path) -> Recipe:
        start = eyes(shared / f"eyes-{seed}", self.size.eyes, seed, BILINGUAL)
        exams: dict[str, Source.Config] = {
            f"{capability}-{language}": world(
                split="unseen-scenes", seed=77, language=language, questions=(capability,), objects=FEW
            )
            for capability in CAPABILITIES
            for language in ("en", "de")
        }
        exam = LikelihoodSuite.Config(sources=exams, samples=self.size.samples)
        return learner(data, self.size.learner, start, exam, BILINGUAL)


def of_size(size: Size) -> Study:
    """The study at any size."""
    task = Instructions(size)
    columns = tuple(f"capabilities.{capability}" for capability in CAPABILITIES)
    # A regression says a little of everything; half a question is none.
    best = {"type": "mmssr", "capabilities": columns, "style": "capabilities.style", "above": 0.5}
    arms: dict[str, Arm] = {}
    claims = []
    for budget, reported in BUDGETS.items():
        for name, part in (("random", {"type": "random"}), ("mmssr", best)):
            arm = f"{name}-{budget}"
            arms[arm] = Chosen(arm, task, selector(part), round(size.pool * budget / 100))
        text = f"of {budget} % of the pool, those chosen by capability and style teach more ({reported} of all data)"
        claims.append(Claim(text, "mmSSR, 2503.13383", f"mmssr-{budget}", f"random-{budget}"))
    return Study(
        name="mmssr",
        summary="Instructions chosen by capability and style, against as many by chance, at 5, 10 and 30 %",
        arms=arms,
        claims=tuple(claims),
        metric="likelihood",
    )


@study
def mmssr() -> Study:
    """Selections of a pool of 20,000."""
    return of_size(Size())
