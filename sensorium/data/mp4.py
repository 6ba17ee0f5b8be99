"""When the frames of an MP4 or QuickTime file are shown, from its tables (ISO/IEC 14496-12), which lie in one place.
libav gives the same packet by packet, and reads the whole file for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

Span = tuple[int, int]
"""Where the content of a box begins and ends."""


@dataclass(frozen=True)
class Times:
    """The frames of a video in the order of decoding: int64 `pts` and `durations` in the units of the stream, bool
    `keys` (decoding may begin here) and `unseen` (an edit cut it off: it is decoded for others and never shown)."""

    pts: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    unseen: np.ndarray

    def begin_like(self, others: Times) -> bool:
        """Whether the first are those."""
        pairs = ((self.pts, others.pts), (self.keys, others.keys), (self.unseen, others.unseen))
        return all(np.array_equal(mine[: len(theirs)], theirs) for mine, theirs in pairs)


def tabled_times(file: BinaryIO, stream: Any, first: int) -> Times | None:
    """The times of all frames of libav's `stream` of an open file, if the first to be decoded is shown at `first`; None
    for a file without such tables (a fragmented one), or one whose edits drop or repeat frames. The file is left where
    it was."""
    place = file.tell()
    try:
        tables = _tables(file, stream.id)
    finally:
        file.seek(place)
    index = stream.index_entries  # libav's copy of the other tables, its edits done
    if not tables or not len(index):
        return None
    shown, lasting = (_spread(table, len(index)) for table in tables)
    if shown is None or lasting is None:
        return None
    found = [(entry.timestamp, entry.is_keyframe, entry.is_discard) for entry in index]
    times, keys, unseen = (np.array(column) for column in zip(*found, strict=True))
    pts = times + shown.astype(np.uint32).view(np.int32)  # offsets are signed, whatever the table's version says
    return Times(pts - pts[0] + first, lasting, keys, unseen)


def _tables(file: BinaryIO, track: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The runs of composition offsets and of durations of a track, int64 `[runs, 2]`: how many frames, and the
    value."""
    for inner in _inside(file, (0, file.seek(0, os.SEEK_END)), b"moov", b"trak"):
        if [_track(file, head) for head in _inside(file, inner, b"tkhd")] == [track]:
            tables = b"mdia", b"minf", b"stbl"
            offsets, durations = (_inside(file, inner, *tables, name) for name in (b"ctts", b"stts"))
            if len(durations) == 1 and len(offsets) < 2:
                lasting = _runs(file, durations[0])
                return _runs(file, offsets[0]) if offsets else lasting * (1, 0), lasting
    return None


def _inside(file: BinaryIO, within: Span, *path: bytes) -> list[Span]:
    """The contents of the boxes at a path of types."""
    found = [span for kind, span in _boxes(file, within) if kind == path[0]]
    return found if len(path) == 1 else [inner for span in found for inner in _inside(file, span, *path[1:])]


def _boxes(file: BinaryIO, within: Span) -> Iterator[tuple[bytes, Span]]:
    """Types and contents of the boxes, up to one that is none."""
    start, end = within
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:  # a longer length follows
            size, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = start + size if size else end
        if not begin <= stop <= end:
            return
        yield head[4:8], (begin, stop)
        start = stop


def _track(file: BinaryIO, head: Span) -> int:
    """The number in a track's header, which stands further back in version 1."""
    longer = _number(file, head[0]) >> 24 == 1
    return _number(file, head[0] + (20 if longer else 12))


def _number(file: BinaryIO, place: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(4), "big")


def _runs(file: BinaryIO, table: Span) -> np.ndarray:
    """The entries of a `stts` or `ctts` box."""
    count = min(_number(file, table[0] + 4), max(0, table[1] - table[0] - 8) // 8)
    return np.frombuffer(file.read(8 * count), ">u4").astype(np.int64).reshape(-1, 2)


def _spread(runs: np.ndarray, frames: int) -> np.ndarray | None:
    """A value a frame; None if there are not as many."""
    return np.repeat(runs[:, 1], runs[:, 0]) if runs[:, 0].sum() == frames else None
