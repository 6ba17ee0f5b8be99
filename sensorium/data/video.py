"""Videos as pictures: which frames a model sees is decided from timestamps, and little more than those is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import chain
from math import ceil
from typing import Any

import numpy as np

from sensorium.data.frames import Frame, refuse_corrupt, upright_size
from sensorium.data.images import check_size
from sensorium.data.libav import open_stream, packets
from sensorium.data.media import open_bytes, reading, where
from sensorium.data.mp4 import Times, tabled_times
from sensorium.errors import DataError
from sensorium.sample import MediaSource, Video

MAX_FRAMES = 4096
"""Frames of a video that are sampled, at most."""


@dataclass(frozen=True)
class Clip:
    """A video file as its packets describe it. `size` is (width, height) as `Frame.open` gives it; `pts` int64
    `[frames]` are the times of its frames, in order, `keys` those at which decoding can begin, and `length` how long it
    lasts, all in units of `unit` seconds."""

    source: MediaSource
    name: str
    size: tuple[int, int]
    pts: np.ndarray
    keys: np.ndarray
    length: int
    unit: Fraction

    @property
    def frames(self) -> int:
        return len(self.pts)

    @property
    def duration(self) -> float:
        """In seconds."""
        return float(self.length * self.unit)

    @property
    def rate(self) -> float:
        """Frames in a second, on average."""
        return self.frames / self.duration

    def at(self, seconds: Fraction | float) -> Frame:
        """The frame that is seen so many seconds after the first begins."""
        place = int(self.pts[0]) + int(Fraction(seconds) / self.unit)
        shown = self.pts[np.searchsorted(self.pts, place, side="right") - 1]
        key = self.keys[max(0, np.searchsorted(self.keys, shown, side="right") - 1)]
        label = f"{self.name} at {float(seconds):.2f} s"
        return Frame(self.source, label, self.size, int(shown), int(key))


def sample_times(video: Video, duration: Fraction) -> list[Fraction]:
    """The seconds at which a model looks: the middles of `frames` equal parts, or of parts of 1 / `rate` seconds. A
    video shorter than half a part is looked at once, in its middle. Fractions, so that rounding decides nothing."""
    part = duration / video.frames if video.frames else 1 / Fraction(video.rate or 1)
    number = ceil(duration / part - Fraction(1, 2))
    if number > MAX_FRAMES:
        raise DataError(f"{number} frames are asked for, more than {MAX_FRAMES}; ask for fewer, or cut the video")
    return [(place + Fraction(1, 2)) * part for place in range(number)] or [duration / 2]


def video_frames(video: Video, name: str = "video") -> list[Frame]:
    """The frames that a model sees of a video, in order. A video with fewer shows some of them more than once."""
    clip = probe(video.source, name)
    try:
        return [clip.at(seconds) for seconds in sample_times(video, clip.length * clip.unit)]
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def probe(source: MediaSource, name: str = "video") -> Clip:
    """What is in a video file: the times of its frames from the tables of an MP4 file or else from all packets, and its
    size from the first frame, for no header says which way is up in every container. A `DataError` if there is no such
    frame."""
    label = f"{name}: {where(source)}"
    with reading(source, name), open_bytes(source, name) as file, open_stream(file, "video", label) as (opened, stream):
        scan = packets(opened, stream, name)
        size, first, begun = _first_frame(scan, label)
        times = tabled_times(file, stream, int(begun.pts[0]))
        if times is None or not times.begin_like(begun):
            times = _joined(begun, _times(_numbers(scan, label)))
        pts, place = np.unique(times.pts[~times.unseen], return_index=True)
        if not len(pts) or pts[0] != first:
            raise DataError(f"{label} does not begin with the frame that it announces; re-encode or remove it")
        unit, last = stream.time_base, int(times.durations[~times.unseen][place[-1]])
        keys = np.unique(times.pts[times.keys])
        spacing = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (stream.average_rate or 1) / unit)
        length = int(pts[-1]) - int(pts[0]) + (last if last > 0 else max(1, spacing))
    check_size(size, label)
    return Clip(source, name, size, pts, keys if len(keys) else pts[:1], length, unit)


def _first_frame(scan: Iterator[Any], label: str) -> tuple[tuple[int, int], int, Times]:
    """The size of the first frame and the time of it, and the times of the packets that it took."""
    begun: list[tuple[int, ...]] = []
    for packet in scan:
        begun += _numbers([packet], label)
        for frame in packet.decode():
            refuse_corrupt(frame, label)
            if frame.pts is not None:
                return upright_size(frame), frame.pts, _times(begun)
    raise DataError(f"{label} has no frame that can be decoded; re-encode it as mp4 or webm, or remove it")


def _numbers(scan: Iterable[Any], label: str) -> Iterator[tuple[int, ...]]:
    """What `Times` has of each packet. A `DataError` for one without a time."""
    for packet in scan:
        if packet.size and packet.pts is None:
            raise DataError(f"{label} has frames without a time; re-encode it as mp4 or webm, or remove it")
        if packet.size:
            yield packet.pts, packet.duration or 0, packet.is_keyframe, packet.is_discard


def _times(numbers: Iterable[tuple[int, ...]]) -> Times:
    table = np.fromiter(chain.from_iterable(numbers), np.int64).reshape(-1, 4)
    return Times(table[:, 0], table[:, 1], table[:, 2] > 0, table[:, 3] > 0)


def _joined(first: Times, second: Times) -> Times:
    return Times(*(np.concatenate([getattr(one, f.name) for one in (first, second)]) for f in fields(Times)))
