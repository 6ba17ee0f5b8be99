"""What a model reads: a `Sample` is an ordered tuple of segments, each one piece of one modality.

A caption pair, a chat, an interleaved web page and a few-shot prompt are all this one type. Segments are
immutable and hold a reference to their media, never decoded pixels; labels, masks and packing are derived from
them by `sensorium.layout` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from sensorium.errors import DataError

if TYPE_CHECKING:
    import PIL.Image

Role = Literal["document", "system", "user", "assistant"]
"""Who speaks. `document` is running text outside any conversation; the others open a turn of the chat template."""


@runtime_checkable
class Picture(Protocol):
    """A reference to a picture that is not a path or bytes: a tar member, a generated scene."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, known without decoding."""
        ...

    def open(self) -> PIL.Image.Image:
        """Decode or render the picture."""
        ...


PictureSource = str | Path | bytes | Picture


@dataclass(frozen=True)
class Segment:
    """One piece of a sample.

    `supervise` says whether the loss sees it; `id` names the piece in error messages.
    """

    _: KW_ONLY
    role: Role = "user"
    supervise: bool = False
    id: str = ""


@dataclass(frozen=True)
class Text(Segment):
    """A run of text."""

    text: str


@dataclass(frozen=True)
class Region:
    """A part of a picture and what is there. `box` is (left, top, right, bottom) in parts of width and height."""

    box: tuple[float, float, float, float]
    text: str

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not (left < right and top < bottom and 0 <= left + right < 2 and 0 <= top + bottom < 2):
            raise DataError(
                f"region {self.text!r}: found the box {self.box}; expected (left, top, right, bottom) in parts of the "
                "picture's width and height, with the middle in the picture; divide pixels by the picture's size"
            )
        if not self.text:
            raise DataError(f"the region at {self.box} has no text; say what is there, or leave it out")


@dataclass(frozen=True)
class Image(Segment):
    """A picture: a path, encoded bytes, or a `Picture` that can be opened later. What is known of its `regions` is
    read by objectives alone, never by the model."""

    source: PictureSource
    regions: tuple[Region, ...] = ()


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
        """The same sample with its pictures withheld: what a text-only twin is trained and tested on."""
        return replace(self, segments=tuple(s for s in self.segments if isinstance(s, Text)))


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
