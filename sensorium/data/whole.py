"""Whether a file of sound or video is as long as it says. Decoders read what is left of one that was cut short as if it
had been made so; here it is refused."""

from __future__ import annotations

import os
from typing import BinaryIO

from sensorium.data.media import HEAD, Kind
from sensorium.errors import DataError

UNKNOWN = 0x7FFFF000
"""Lengths from here on are what programs write that did not know better (sox, ffmpeg into a pipe)."""
PAGE = 65_536
"""An Ogg page is at most a little longer, so the last one begins in the last two of these (RFC 3533, section 6)."""


def refuse_cut(file: BinaryIO, kind: Kind | None, name: str) -> None:
    """A `DataError` if the file ends before it says that it does. It is left at its beginning."""
    length = file.seek(0, os.SEEK_END)
    lengths = {"wav": _riff, "avi": _riff, "mp4": _boxes, "matroska": _segment, "ogg": _pages}
    declared = lengths[kind](file, length) if kind in lengths else None
    file.seek(0)
    if declared is not None and declared > length:
        raise DataError(f"{name}: cut short at {length} of {declared} bytes; restore or remove it")


def _riff(file: BinaryIO, length: int) -> int | None:
    file.seek(4)
    declared = int.from_bytes(file.read(4), "little")
    return declared + 8 if 0 < declared < UNKNOWN else None


def _boxes(file: BinaryIO, length: int) -> int | None:
    """Where the last of the boxes ends (ISO 14496-12, section 4.2)."""
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(HEAD)
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # a longer length follows
            size = int.from_bytes(head[8:16], "big")
        if size == 0 or not head[4:8].isalnum():  # to the end of the file, or trailing bytes that are no box
            return None
        if size < 8:
            return None
        place += size
    return place


def _segment(file: BinaryIO, length: int) -> int | None:
    """Where the segment ends that follows the header (RFC 9559, section 5; lengths as in RFC 8794, section 4)."""
    place = 4
    for identifier in (0, 4):
        file.seek(place + identifier)
        head = file.read(8)
        if not head or not head[0]:
            return None
        size = 9 - head[0].bit_length()
        bits = 7 * size
        value = int.from_bytes(head[:size], "big") & ((1 << bits) - 1)
        if value == (1 << bits) - 1:  # unknown: a live recording
            return None
        place += identifier + size + value
    return place


def _pages(file: BinaryIO, length: int) -> int | None:
    """Where the last page ends."""
    start = max(0, length - 2 * PAGE)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    segments = tail[page + 27 : page + 27 + tail[page + 26]] if 0 <= page < len(tail) - 26 else b""
    if page < 0:
        return None
    missing = len(tail) - page < 27 or len(segments) < tail[page + 26]
    return length + 1 if missing else start + page + 27 + len(segments) + sum(segments)
