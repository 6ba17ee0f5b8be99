"""What became of every file, and the sums of it: nothing that was given is missing from the count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

from sensorium.documents.document import figure_of, paragraphs
from sensorium.documents.filter import Outcome
from sensorium.documents.words import words
from sensorium.sample import Image, Text

EXCERPT = 240
"""Letters of a text that examples show."""
SHOWN = 12
"""Examples of each filter in a report."""

Verdict = Literal["kept", "dropped", "refused"]


@dataclass(frozen=True)
class Example:
    """Something that a filter took out: of which document, what it was, why; `picture` is a small copy in the folder
    of the output, if it was one and there is one."""

    filter: str
    document: str
    what: Literal["document", "text", "picture"]
    reason: str
    shown: str
    picture: str = ""


@dataclass(frozen=True)
class Taken:
    """How much a filter took out."""

    documents: int = 0
    texts: int = 0
    pictures: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.documents + other.documents, self.texts + other.texts, self.pictures + other.pictures)


@dataclass(frozen=True)
class Entry:
    """What became of a file: counts of what was kept of it, and by filter of what was taken out."""

    id: str
    verdict: Verdict
    reason: str = ""
    kind: str = ""
    texts: int = 0
    words: int = 0
    pictures: int = 0
    absent: int = 0
    filters: dict[str, Taken] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, examples: Iterable[Example]) -> Entry:
        """The entry of a document that filters have seen."""
        document, filters = outcome.document, dict[str, Taken]()
        for cut in outcome.cuts:
            one = Taken(pictures=1) if isinstance(cut.segment, Image) else Taken(texts=1)
            filters[cut.filter] = filters.get(cut.filter, Taken()) + one
        kind = str(document.meta["kind"])
        entry = cls(document.id, "dropped", outcome.reason, kind, filters=filters, examples=tuple(examples))
        if outcome.dropped_by:
            filters[outcome.dropped_by] = filters.get(outcome.dropped_by, Taken()) + Taken(documents=1)
            return entry
        texts, absent = paragraphs(document), cast(tuple, document.meta["absent"])
        count = sum(len(words(text)) for text in texts)
        sums = {"texts": len(texts), "words": count, "pictures": len(document.images), "absent": len(absent)}
        return replace(entry, verdict="kept", **sums)

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Entry:
        filters = {name: Taken(**taken) for name, taken in line["filters"].items()}
        return cls(**{**line, "filters": filters, "examples": tuple(Example(**one) for one in line["examples"])})


def examples_of(outcome: Outcome) -> list[tuple[Example, Image | None]]:
    """All that filters took out of a document, as examples, and the pictures among it."""
    document = outcome.document
    found: list[tuple[Example, Image | None]] = []
    for cut in outcome.cuts:
        image = cut.segment if isinstance(cut.segment, Image) else None
        figure = figure_of(document, image) if image else None
        shown = f"{figure.address} {figure.alt}".strip() if figure else _excerpt([cut.segment])
        what = "picture" if image else "text"
        found.append((Example(cut.filter, document.id, what, cut.reason, shown), image))
    if outcome.dropped_by:
        shown = _excerpt(document.segments)
        found.append((Example(outcome.dropped_by, document.id, "document", outcome.reason, shown), None))
    return found


def _excerpt(segments: Iterable[object]) -> str:
    text = " ".join(one.text for one in segments if isinstance(one, Text))
    return text if len(text) <= EXCERPT else text[:EXCERPT] + " …"


@dataclass
class Report:
    """Sums over entries. `given` is how many files there are; kept, dropped and refused add up to it once a run has
    ended."""

    given: int = 0
    kept: int = 0
    dropped: int = 0
    refused: int = 0
    texts: int = 0
    words: int = 0
    pictures: int = 0
    absent: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    filters: dict[str, Taken] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def read(self) -> int:
        return self.kept + self.dropped + self.refused

    def add(self, entry: Entry) -> None:
        """Count an entry."""
        self.kept += entry.verdict == "kept"
        self.dropped += entry.verdict == "dropped"
        self.refused += entry.verdict == "refused"
        self.texts += entry.texts
        self.words += entry.words
        self.pictures += entry.pictures
        self.absent += entry.absent
        if entry.verdict == "kept":
            self.kinds[entry.kind] = self.kinds.get(entry.kind, 0) + 1
        for name, taken in entry.filters.items():
            self.filters[name] = self.filters.get(name, Taken()) + taken
        for one in entry.examples:
            if sum(one.filter == other.filter for other in self.examples) < SHOWN:
                self.examples.append(one)

    def to_json(self) -> dict[str, Any]:
        """The sums, without examples."""
        return {key: value for key, value in asdict(self).items() if key != "examples"}
