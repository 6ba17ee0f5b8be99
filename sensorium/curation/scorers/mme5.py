"""Queries, answers and hard negatives, written, judged and revised by a teacher in one go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sensorium.curation.pairs import asked
from sensorium.curation.step import Kind
from sensorium.curation.writer import Writer, filled, without_sentences
from sensorium.sample import Sample

TASKS = {
    "retrieval": "The query says what somebody who has the picture is looking for; the positive is a text that goes "
    "with this picture, the negative one that goes with a similar picture only.",
    "classification": "The query asks what kind of thing the picture shows; the positive is the right kind, the "
    "negative one that is easily taken for it.",
    "vqa": "The query is a question that only the picture answers; the positive is the right answer, the negative a "
    "likely one that is wrong.",
}
LINES = (
    "description",
    "draft query",
    "draft positive",
    "draft negative",
    "evaluation",
    "query",
    "positive",
    "negative",
)
INSTRUCTION = (
    "Make an exercise in searching, in {language}. {task}\nReply with these lines and nothing else, each opened by its "
    "name and a colon.\nDescription: what the picture shows, as a whole, in detail, and what it tells.\nDraft query, "
    "Draft positive, Draft negative: a first attempt.\nEvaluation: whether query and positive agree with the picture, "
    "whether the negative is wrong and yet hard to tell, and what to mend.\nQuery, Positive, Negative: the texts as "
    "mended."
)


class MME5(Writer, name="mme5"):
    """`query`, `positive`, `negative`: texts about the sample's picture that a teacher describes, drafts, judges and
    revises in one reply, of which the revised ones are kept (mmE5, Chen et al., arXiv 2502.08468, section 3; the
    wording is ours); `draft` is the positive before that. A reply that is cut, without all of them, or whose negative
    is the positive, gives nothing. The source `triples` makes samples of them.

    The paper's teacher is a large multimodal model. None that could do this is here; a small one must have been taught
    the form.
    """

    class Config(Writer.Config):
        task: Literal["retrieval", "classification", "vqa"] = "retrieval"
        language: str = Field(default="English", description="of the texts; the paper draws from 93")
        instruction: str = Field(default="", description="asked instead")
        max_tokens: int = Field(default=512, ge=1)

        @property
        def columns(self) -> dict[str, Kind]:
            return dict.fromkeys(("query", "positive", "negative", "draft"), "text")

    config: Config

    def prompt(self, sample: Sample) -> Sample:
        config = self.config
        values = {"task": TASKS[config.task], "language": config.language}
        return asked(sample, filled(config.instruction or INSTRUCTION, values))

    def whole(self, reply: str) -> str:
        return ""

    def score(self, items: Sequence[Sample]) -> list[tuple[str, ...]]:
        artefacts = self.config.artefacts
        return [tuple(without_sentences(t, artefacts) for t in revised(reply)) for reply in self.replies(items)]


def revised(reply: str) -> tuple[str, str, str, str]:
    """(query, positive, negative, draft) of a reply, all empty if one of the first three is missing or the negative is
    the positive."""
    said = lines_of(reply)
    query, positive, negative = (said.get(name, "") for name in ("query", "positive", "negative"))
    if not (query and positive and negative) or positive.lower() == negative.lower():
        return "", "", "", ""
    return query, positive, negative, said.get("draft positive", "")


def lines_of(reply: str) -> dict[str, str]:
    """What follows each name at the beginning of a line, up to the next; of names that come twice, the last."""
    names = "|".join(sorted(LINES, key=len, reverse=True))
    pieces = re.split(rf"^\W*({names})\W*:", reply, flags=re.IGNORECASE | re.MULTILINE)
    return {name.lower(): text.strip(" \t\r\n*") for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}
