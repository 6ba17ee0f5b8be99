"""What records say of pictures, video and sound, as segments: paths in the folder, bytes, and what parquet makes of
them. Which modalities can be read is said here and nowhere else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sensorium.data.files import Stored
from sensorium.data.folder import Folder
from sensorium.errors import DataError
from sensorium.sample import Audio, Image, Role, Segment, Video

Kind = Literal["image", "video", "audio"]
Medium = Path | Stored | bytes
"""What may be the `source` of a segment."""

KINDS: tuple[Kind, ...] = ("image", "video", "audio")
FRAMES = 8
"""Frames that a model sees of a video in a record."""
SEGMENTS: dict[Kind, Any] = {"image": Image, "video": partial(Video, frames=FRAMES), "audio": Audio}
"""The segments that hold a medium in their `source`."""

ENDINGS = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),
    "audio": (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"),
    "text": (".txt",),
}
"""How the names of files of a kind end, in small letters; the first that is there is taken."""


def segment(kind: Kind, source: Medium, role: Role) -> Segment:
    """A segment that holds a medium."""
    return SEGMENTS[kind](source=source, role=role)


def medium(value: Any, folder: Folder, field: str, name: str) -> Medium:
    """A medium as a record gives it: the path of a file in the folder, bytes, {bytes, path} as `datasets` writes them
    into parquet, or a `data:` URI. Anything else, an address above all, is a `DataError` that begins with `name`."""
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value.startswith("data:"):
        return _uri(value, field, name)
    if isinstance(value, str) and value:
        return folder.find(value, name).plain
    found = repr(value)[:60]
    raise DataError(f"{name}: field '{field}' is {found}; it must be the path of a file in {folder}, or its bytes")


def media(value: Any, folder: Folder, field: str, name: str) -> list[Medium]:
    """The media of a field that holds one, a list of them, or nothing."""
    if value is None:
        return []
    return [medium(one, folder, field, name) for one in (value if isinstance(value, list) else [value])]


def read_bytes(source: Medium) -> bytes:
    """The bytes of a medium as they lie there; a `DataError` if they are gone."""
    if isinstance(source, bytes):
        return source
    return (Stored(source) if isinstance(source, Path) else source).read()


def read_text(file: Stored) -> str:
    """A file of UTF-8 without the white space around it; a `DataError` if it is none."""
    raw = file.read()
    try:
        return raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({error}); found {raw[:60]!r}; save it as UTF-8") from None


def _uri(text: str, field: str, name: str) -> bytes:
    head, comma, data = text.partition(";base64,")
    try:
        if comma and (found := base64.b64decode(data, validate=True)):
            return found
    except (binascii.Error, ValueError):
        pass
    raise DataError(f"{name}: field '{field}' is no data URI in base64: {head[:40]!r}; correct it")
