"""Frames of a video as pictures, each found by its time. Those of one video are decoded in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL import Image as PILImage

from sensorium.data.images import open_picture
from sensorium.data.libav import open_stream, packets
from sensorium.data.media import open_bytes, reading, where
from sensorium.errors import DataError
from sensorium.sample import Image, MediaSource


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


@contextmanager
def open_video(source: MediaSource, name: str) -> Iterator[tuple[Any, Any]]:
    """A video's container and stream."""
    with open_bytes(source, name) as file, open_stream(file, "video", f"{name}: {where(source)}") as opened:
        yield opened


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
                picture = decoder.read(frame.pts, frame.key)
            if picture.size != frame.size:
                found = f"is {picture.width} x {picture.height} pixels in a video of {frame.size[0]} x {frame.size[1]}"
                raise DataError(f"{frame.name}: {found}; re-encode the video with one size")
            yield picture


class _Decoder:
    """Decodes forward through one video, and begins again at a keyframe where that is needed or shorter."""

    def __init__(self, source: MediaSource, name: str) -> None:
        self.source, self.name = source, name
        self.opened = ExitStack()

    def __enter__(self) -> _Decoder:
        self._restart()
        return self

    def __exit__(self, *_: Any) -> None:
        self.opened.close()

    def _restart(self) -> None:
        self.opened.close()
        self.container, self.stream = self.opened.enter_context(open_video(self.source, self.name))
        self._decoded, self.last = self._decode(), None

    def read(self, pts: int, key: int) -> PILImage.Image:
        """The frame of time `pts`, if need be from the keyframe at `key` on."""
        from av.error import FFmpegError

        found = None
        try:
            if self.last is None or not key <= self.last.pts <= pts:
                self.container.seek(key, stream=self.stream, backward=True)
                self._decoded, self.last = self._decode(), None
            found = self._until(pts)
        except FFmpegError:  # no index, or one that leads to where decoding cannot begin
            pass
        if found is None:
            self._restart()
            found = self._until(pts)
        if found is None:
            raise DataError(f"{self.name}: a frame it announces is not there; it is damaged or cut short, remove it")
        return _upright(found)

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
                refuse_corrupt(frame, self.name)
                if frame.pts is not None:
                    yield frame


def refuse_corrupt(frame: Any, name: str) -> None:
    """A `DataError` for a frame that libav has made up in part."""
    if frame.is_corrupt:
        raise DataError(f"{name}: a frame is damaged; remove the video")


def upright_size(frame: Any) -> tuple[int, int]:
    """(width, height) of a frame as it is shown."""
    if frame.rotation % 90:
        return _upright(frame).size
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def _upright(frame: Any) -> PILImage.Image:
    picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture
