"""The pieces of a sample, each of one modality.

Segments are immutable and hold a reference to their media (a path, encoded bytes, or an object that can give them),
never decoded pixels or sound. A `Video` is read as its frames and a `Table` as text; a layout refuses what its model
has no encoder for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
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
