"""What a model reads: a `Sample` is an ordered tuple of segments, each one piece of one modality.

A caption pair, a chat, an interleaved web page and a few-shot prompt are all this one type. Segments are
immutable and hold a reference to their media (a path, encoded bytes, or an object that can give them), never decoded
pixels or sound; labels, masks and packing are derived from them by `sensorium.layout` and by nothing else.

A `Video` is read as its frames and a `Table` as text; a layout refuses what its model has no encoder for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

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


@runtime_checkable
class Stored(Protocol):
    """An encoded file that is not a path or bytes: a member of a shard, an object in a store."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes:
        """All of its bytes, the same at every call."""
        ...


MediaSource = str | Path | bytes | Stored
PictureSource = MediaSource | Picture


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
    """A picture: a path, encoded bytes, or an object that can be read or opened later. What is known of its `regions`
    is read by objectives alone, never by the model."""

    source: PictureSource
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Video(Segment):
    """A video, of which a model sees some frames: `frames` of them, from the middles of as many equal parts of the
    duration, or `rate` in a second. One of the two is given."""

    source: MediaSource
    frames: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if (self.frames is None) == (self.rate is None) or not 0 < (self.frames or self.rate or 0) < float("inf"):
            found = f"frames={self.frames} and rate={self.rate}"
            raise DataError(f"video {self.id or '?'}: found {found}; give one, above 0: how many, or how many a second")


@dataclass(frozen=True)
class Audio(Segment):
    """A sound."""

    source: MediaSource


@dataclass(frozen=True)
class Table(Segment):
    """Cells of text in rows that are all as wide as each other and as the `header`, if there is one. Other values are
    written as text, None as nothing."""

    rows: Sequence[Sequence[Any]]
    header: Sequence[Any] = ()

    def __post_init__(self) -> None:
        header, *rows = (tuple("" if c is None else str(c) for c in row) for row in (self.header, *self.rows))
        widths = {len(row) for row in (*rows, header or rows[0])} if rows else {0}
        if len(widths) != 1 or 0 in widths:
            raise DataError(f"table {self.id or '?'}: rows of {sorted(widths)} cells; give all the same, at least one")
        object.__setattr__(self, "rows", tuple(rows))
        object.__setattr__(self, "header", header)


@dataclass(frozen=True)
class Points(Segment):
    """A cloud of points in space."""

    source: MediaSource


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
