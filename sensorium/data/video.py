"""Videos as pictures: which frames a model sees is decided from timestamps, and little more than those is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from sensorium.data.frames import Frame, first_size, open_video
from sensorium.data.images import check_size
from sensorium.data.libav import packets
from sensorium.data.media import reading, where
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
    """What is in a video file, from all of its packets; only the first frame is decoded, since no header says which
    way is up in every container. A `DataError` if there is no such frame."""
    with reading(source, name), open_video(source, name) as (container, stream):
        every = [(p.pts, p.is_keyframe, p.duration) for p in packets(container, stream, name) if p.size]
        known = [packet for packet in every if packet[0] is not None]
        if not known or len(known) < len(every):
            found = f"{len(every)} frames, {len(every) - len(known)} of them without a time"
            raise DataError(f"{name}: {where(source)} has {found}; re-encode it as mp4 or webm, or remove it")
        pts = np.unique([at for at, _, _ in known])
        keys = np.unique([at for at, key, _ in known if key] or pts[:1])
        unit, last = stream.time_base, max(known)[2] or 0
        spacing = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (stream.average_rate or 1) / unit)
        length = int(pts[-1]) - int(pts[0]) + (last if last > 0 else max(1, spacing))
    size = first_size(source, name, int(pts[0]))
    check_size(size, f"{name}: {where(source)}")
    return Clip(source, name, size, pts, keys, length, unit)
