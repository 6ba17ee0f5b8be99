"""What a model reads: a `Sample` is an ordered tuple of segments, each one piece of one modality.

A caption pair, a chat, an interleaved web page and a few-shot prompt are all this one type. Labels, masks and packing
are derived from its segments (`sensorium/segments.py`) by `sensorium.layout` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from sensorium.segments import (
    Audio,
    Image,
    MediaSource,
    Picture,
    PictureSource,
    Points,
    Region,
    Role,
    Segment,
    Stored,
    Table,
    Text,
    Video,
)

__all__ = [
    "Audio",
    "Image",
    "MediaSource",
    "Picture",
    "PictureSource",
    "Points",
    "Region",
    "Role",
    "Sample",
    "Segment",
    "Stored",
    "Table",
    "Text",
    "Video",
    "as_sample",
    "caption",
    "chat",
]


@dataclass(frozen=True)
class Sample:
    """An ordered tuple of segments.

    `source` is the name of where it came from and `id` is unique there; together they name the sample in errors,
    quarantine files and restore keys. `meta` carries ground truth for evaluation and is never shown to a model.
    """

    segments: tuple[Segment, ...]
    id: str = ""
    source: str = ""
    meta: dict[str, object] = field(default_factory=dict, compare=False)

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(s for s in self.segments if isinstance(s, Image))

    @property
    def name(self) -> str:
        return f"{self.source or 'sample'}/{self.id or '?'}"

    def turns(self) -> list[list[Segment]]:
        """Runs of segments of one role; a user's picture and question are one turn."""
        return [list(run) for _, run in groupby(self.segments, key=lambda segment: segment.role)]

    def blind(self) -> Sample:
        """The same sample with all but text and tables withheld: what a text-only twin is trained and tested on."""
        return replace(self, segments=tuple(s for s in self.segments if isinstance(s, Text | Table)))


def as_sample(value: Sample | Sequence[Segment | str], role: Role = "user") -> Sample:
    """A sample from what users write: a sample, or a list of segments and plain strings."""
    if isinstance(value, Sample):
        return value
    return Sample(tuple(Text(v, role=role) if isinstance(v, str) else v for v in value), id="prompt")


def chat(
    images: Iterable[PictureSource], turns: Iterable[tuple[str, str]], *, id: str = "", source: str = ""
) -> Sample:
    """A conversation about pictures: the images open the first user turn, every answer is supervised."""
    segments: list[Segment] = [Image(image) for image in images]
    for question, answer in turns:
        segments.append(Text(question, role="user"))
        segments.append(Text(answer, role="assistant", supervise=True))
    return Sample(tuple(segments), id=id, source=source)


def caption(image: PictureSource, text: str, *, id: str = "", source: str = "") -> Sample:
    """A picture followed by its supervised caption, as running text."""
    return Sample((Image(image, role="document"), Text(text, role="document", supervise=True)), id=id, source=source)
