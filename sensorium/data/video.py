"""Videos as pictures: which frames a model sees is decided from timestamps, and little more than those is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image as PILImage

from sensorium.data.images import check_size, open_picture
from sensorium.data.libav import open_stream, packets
from sensorium.data.media import open_bytes, reading, where
from sensorium.errors import DataError
from sensorium.sample import Image, MediaSource, Video

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


@dataclass(frozen=True)
class Frame:
    """A frame of a video: a `Picture`, decoded when it is opened. `pts` is its time in the units of its stream, `key`
    that of a frame at which decoding can begin."""

    source: MediaSource
    name: str
    size: tuple[int, int]
    pts: int
    key: int

    def open(self) -> PILImage.Image:
        (picture,) = read_frames([self])
        return picture


def sample_times(video: Video, duration: Fraction) -> list[Fraction]:
    """The seconds at which a model looks: the middles of `frames` equal parts, or of parts of 1 / `rate` seconds. A
    video shorter than half a part is looked at once, in its middle. Fractions, so that rounding decides nothing."""
    part = duration / video.frames if video.frames else 1 / Fraction(video.rate or 1)
    number = int(duration / part + Fraction(1, 2))
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
    with reading(source, name), _opened(source, name) as (container, stream):
        every = [(p.pts, p.is_keyframe, p.duration) for p in packets(container, stream, name) if p.size]
        known = [packet for packet in every if packet[0] is not None]
        if not known or len(known) < len(every):
            found = f"{len(every)} frames, {len(every) - len(known)} of them without a time"
            raise DataError(f"{name}: {where(source)} has {found}; re-encode it as mp4 or webm, or remove it")
        pts = np.unique([at for at, _, _ in known])
        keys = np.unique([at for at, key, _ in known if key] or pts[:1])
        unit, last = stream.time_base, max(known)[2] or 0
        spacing = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (stream.average_rate or 1) / unit)
        length = int(pts[-1] - pts[0]) + (last if last > 0 else max(1, spacing))
    first = Frame(source, name, (0, 0), int(pts[0]), int(pts[0]))
    with reading(source, name), _Decoder(source, name) as decoder:
        size = decoder.read(first).size
    check_size(size, f"{name}: {where(source)}")
    return Clip(source, name, size, pts, keys, length, unit)


def open_all(images: Sequence[Image], name: str) -> Iterator[PILImage.Image]:
    """The pictures in order, as `open_picture` gives them; frames of one video are decoded in one pass."""
    for source, run in groupby(images, lambda image: image.source.source if isinstance(image.source, Frame) else image):
        if isinstance(source, Image):
            yield from (open_picture(image.source, image.id or name) for image in run)
        else:
            yield from read_frames([image.source for image in run if isinstance(image.source, Frame)])


def read_frames(frames: Sequence[Frame]) -> Iterator[PILImage.Image]:
    """Frames of one video, decoded in the order of the list: RGB, upright. A `DataError` names one that cannot be read,
    or has another size than the video."""
    with reading(frames[0].source, frames[0].name), _Decoder(frames[0].source, frames[0].name) as decoder:
        for frame in frames:
            with reading(frame.source, frame.name):
                picture = decoder.read(frame)
            if picture.size != frame.size:
                found = f"is {picture.width} x {picture.height} pixels in a video of {frame.size[0]} x {frame.size[1]}"
                raise DataError(f"{frame.name}: {found}; re-encode the video with one size")
            yield picture


class _Decoder:
    """Decodes forward through one video; goes back to a keyframe only where that is needed or shorter."""

    def __init__(self, source: MediaSource, name: str) -> None:
        self.source, self.name = source, name

    def __enter__(self) -> _Decoder:
        self._restart()
        return self

    def __exit__(self, *_: Any) -> None:
        self._context.__exit__(None, None, None)

    def _restart(self) -> None:
        if hasattr(self, "_context"):
            self._context.__exit__(None, None, None)
        self._context = _opened(self.source, self.name)
        self.container, self.stream = self._context.__enter__()
        self._decoded = self._decode()
        self.last: Any = None

    def read(self, frame: Frame) -> PILImage.Image:
        place = self.last.pts if self.last is not None else None
        if place is not None and frame.pts < place:
            self._restart()
        if frame.key > (place if place is not None else frame.key - 1):
            self._seek(frame.key)
        found = self._until(frame.pts)
        if found is None:  # the container's index is wrong, or leads to no place where decoding can begin
            self._restart()
            found = self._until(frame.pts)
        if found is None:
            raise DataError(f"{frame.name}: there is no such frame; the video is damaged or cut short, remove it")
        return _upright(found)

    def _seek(self, pts: int) -> None:
        from av.error import FFmpegError

        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except FFmpegError:
            self._restart()
            return
        self._decoded, self.last = self._decode(), None

    def _until(self, pts: int) -> Any:
        """The frame of exactly this time, or None."""
        while self.last is None or self.last.pts < pts:
            frame = next(self._decoded, None)
            if frame is None:
                return None
            if self.last is not None and frame.pts <= self.last.pts:
                raise DataError(f"{self.name}: its times go backwards; re-encode it as mp4 or webm, or remove it")
            self.last = frame
        return self.last if self.last.pts == pts else None

    def _decode(self) -> Iterator[Any]:
        for packet in packets(self.container, self.stream, self.name):
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise DataError(f"{self.name}: a frame is damaged; remove the video")
                if frame.pts is not None:
                    yield frame


def _upright(frame: Any) -> PILImage.Image:
    picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


@contextmanager
def _opened(source: MediaSource, name: str) -> Iterator[tuple[Any, Any]]:
    with open_bytes(source, name) as file, open_stream(file, "video", f"{name}: {where(source)}") as opened:
        yield opened
