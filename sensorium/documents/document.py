"""A document is a sample: its paragraphs and pictures in reading order, as segments of the role `document`.

What a page says about its pictures (address, alternative text) is in `meta`, by the id of the picture's segment, so
that it stays right when filters take segments out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from sensorium.sample import Image, PictureSource, Sample, Segment, Text

BREAK = "\n\n"
"""What stands between paragraphs."""


@dataclass(frozen=True)
class Figure:
    """What a page says of a picture: its address as written there (of a PDF: page and number), its text."""

    address: str
    alt: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture on its way into a document."""

    source: PictureSource
    figure: Figure


@dataclass
class Reading:
    """What a reader found: paragraphs and pictures in reading order, and the pictures that it could not or may not
    read."""

    kind: str
    title: str = ""
    pieces: list[str | Picture] = field(default_factory=list)
    absent: list[Figure] = field(default_factory=list)

    def document(self, id: str, source: str) -> Sample:
        """The sample. Its meta: `kind` ("html" or "pdf"), `title`, `figures` ({segment id: Figure}), `absent`."""
        segments: list[Segment] = []
        figures: dict[str, Figure] = {}
        for number, piece in enumerate(self.pieces):
            if isinstance(piece, str):
                segments.append(Text(piece, role="document", supervise=True, id=f"text-{number}"))
            else:
                segments.append(Image(piece.source, role="document", id=f"picture-{number}"))
                figures[f"picture-{number}"] = piece.figure
        meta: dict[str, Any] = {"kind": self.kind, "title": self.title, "figures": figures}
        return Sample(tuple(segments), id=id, source=source, meta={**meta, "absent": tuple(self.absent)})


def figure_of(document: Sample, image: Image) -> Figure:
    """What the page says of a picture."""
    figures: Any = document.meta.get("figures", {})
    return figures.get(image.id, Figure(""))


def name_of(document: Sample, segment: Segment) -> str:
    """How a segment is called in errors and reports."""
    return f"{document.name}, {segment.id}"


def paragraphs(document: Sample) -> list[str]:
    """The texts, one a paragraph, whether or not they have been joined."""
    return [part for s in document.segments if isinstance(s, Text) for part in s.text.split(BREAK)]


def without(document: Sample, places: Iterable[int]) -> Sample:
    """The document without the segments at these places."""
    gone = set(places)
    return replace(document, segments=tuple(s for i, s in enumerate(document.segments) if i not in gone))


def joined(document: Sample) -> Sample:
    """The document with neighbouring paragraphs as one text, as models read it."""
    segments: list[Segment] = []
    for is_text, run in groupby(document.segments, key=lambda segment: isinstance(segment, Text)):
        run = list(run)
        segments += [_join(run)] if is_text else run
    return replace(document, segments=tuple(segments))


def _join(texts: Sequence[Any]) -> Text:
    return replace(texts[0], text=BREAK.join(text.text for text in texts))
