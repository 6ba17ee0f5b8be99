"""Encoded files of any kind: their bytes from any reference, and what they are by content, never by name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sensorium.errors import DataError, SensoriumError
from sensorium.sample import MediaSource

Kind = Literal["wav", "flac", "ogg", "mp3", "aac", "mp4", "matroska", "avi", "npy", "ply"]
HEAD = 16
"""Bytes from which the kind of a file can be told."""


def open_bytes(source: MediaSource, name: str) -> BinaryIO:
    """The encoded file, open at its beginning. A `DataError` for a path that is no regular file: reading a pipe or a
    device could wait for ever."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str | Path):
        return io.BytesIO(source.read())
    try:
        if (path := Path(source)).is_file():
            return path.open("rb")
        found = f"{source} is not a readable file" if path.exists() else f"no file {source}"
    except (OSError, ValueError) as error:
        found = f"{str(source)[:200]!r} cannot be opened ({error})"
    raise DataError(f"{name}: {found}; check the path")


def start_of(file: BinaryIO) -> Kind | None:
    """What an open file is, from its first bytes; it is left at its beginning."""
    file.seek(0)
    kind = kind_of(file.read(HEAD))
    file.seek(0)
    return kind


def kind_of(head: bytes) -> Kind | None:
    """What begins with these bytes; None for what no reader of sound, video or points knows."""
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"AVI "):
        return "wav" if head[8:12] == b"WAVE" else "avi"
    for kind, magic, offset in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3"  # the layer bits are zero in ADTS alone
    return None


MAGIC: tuple[tuple[Kind, bytes, int], ...] = (
    ("flac", b"fLaC", 0),
    ("ogg", b"OggS", 0),
    ("mp3", b"ID3", 0),
    ("mp4", b"ftyp", 4),
    ("mp4", b"moov", 4),
    ("mp4", b"mdat", 4),
    ("matroska", b"\x1a\x45\xdf\xa3", 0),
    ("npy", b"\x93NUMPY", 0),
    ("ply", b"ply\n", 0),
    ("ply", b"ply\r", 0),
)


@contextmanager
def reading(source: Any, name: str) -> Iterator[None]:
    """Whatever a decoder stumbles over is the file's fault and must not end a run, but for a lack of memory or of a
    library. The `DataError` begins with `name`."""
    try:
        yield
    except (SensoriumError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{name}: cannot decode {where(source)}: {told(error)}; re-save or remove the file") from error


def told(error: Exception) -> str:
    """What an error says, or what it is where it says nothing."""
    return str(error) or type(error).__name__


def where(source: Any) -> str:
    """A reference in words."""
    if isinstance(source, bytes):
        return f"{len(source)} bytes"
    return str(source) if isinstance(source, str | Path) else str(source.name)
