"""What decides about documents: filters cut segments out of a document, or drop all of it, and say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.config import Part, PartConfig
from sensorium.documents.document import without
from sensorium.sample import Sample, Segment


class DocumentFilter(Part, family="document-filter", package="sensorium.documents.filters"):
    """Decides what of a document is kept: whether it goes as a whole, and if not, which of its segments go.

    What a filter remembers of documents before this one it learns in `remember` alone, from those that were kept, as
    they were written. So a run that goes on begins where it stopped by remembering what it wrote.
    """

    class Config(PartConfig):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    def objection(self, document: Sample) -> str | None:
        """Why all of a document goes; None keeps it."""
        return None

    def cuts(self, document: Sample) -> dict[int, str]:
        """The places of segments that go, and why each goes."""
        return {}

    def remember(self, document: Sample) -> None:
        """Take note of a document that was kept."""


@dataclass(frozen=True)
class Cut:
    """A segment that a filter took out."""

    filter: str
    segment: Segment
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What filters left of a document, what they cut, and the filter that dropped it with its reason, if one did."""

    document: Sample
    cuts: tuple[Cut, ...]
    dropped_by: str = ""
    reason: str = ""


def apply(filters: Sequence[DocumentFilter], document: Sample) -> Outcome:
    """Pass a document through filters in order, up to the first that drops it."""
    cuts: list[Cut] = []
    for one in filters:
        name = one.config.type_name
        if (reason := one.objection(document)) is not None:
            return Outcome(document, tuple(cuts), name, reason)
        going = one.cuts(document)
        cuts += [Cut(name, document.segments[place], reason) for place, reason in sorted(going.items())]
        document = without(document, going)
        if not document.segments:
            return Outcome(document, tuple(cuts), name, "nothing is left of it")
    return Outcome(document, tuple(cuts))
