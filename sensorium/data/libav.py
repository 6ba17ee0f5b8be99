"""The only door to libav, which reads video and compressed sound.

It is given an open file and the name of one container, never a path, so that nothing a file says can make it open
another, and only the codecs below. Threads are left to the loader's workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

from sensorium.assets import need
from sensorium.data.images import MAX_PIXELS
from sensorium.data.media import Kind, start_of
from sensorium.data.whole import refuse_cut
from sensorium.errors import DataError

CONTAINERS: dict[Kind | None, str] = {"mp4": "mov", "matroska": "matroska", "avi": "avi", "aac": "aac"}
"""What is read, and what libav calls it; mp4 is also QuickTime, matroska also WebM."""
CODECS = {
    "video": ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mjpeg", "mpeg2video", "mpeg1video"),
    "audio": ("aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac", "alac", "ac3",
              "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"),
}  # fmt: skip
MAX_PACKETS = 2_000_000
"""Packets of a file after which it is given up: eighteen hours of video."""


@contextmanager
def open_stream(file: BinaryIO, kind: Literal["video", "audio"], name: str) -> Iterator[tuple[Any, Any]]:
    """A container and the first stream of a kind in it that is no cover picture, ready to be decoded. A `DataError`
    that begins with `name` if there is none, or if the file ends before the stream does."""
    need("av", "data", f"reading {kind}")
    import av
    from av.stream import Disposition

    container_kind = start_of(file)
    if container_kind not in CONTAINERS:
        raise DataError(
            f"{name} is no {kind} of a known kind ({', '.join(map(str, CONTAINERS))}); convert or remove it"
        )
    refuse_cut(file, container_kind, name)
    with av.open(file, format=CONTAINERS[container_kind]) as container:
        streams = [s for s in getattr(container.streams, kind) if not s.disposition & Disposition.attached_pic]
        codec = streams[0].codec_context if streams else None
        if codec is None or codec.name not in CODECS[kind]:
            found = f"{kind} in the codec {codec.name}" if codec else f"no {kind}"
            raise DataError(f"{name} holds {found}; re-encode it with one of {', '.join(CODECS[kind])}")
        if container_kind == "mp4":
            _refuse_outside(container, file, name)
        codec.thread_count = 1
        codec.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        yield container, streams[0]


def _refuse_outside(container: Any, file: BinaryIO, name: str) -> None:
    """Packets that an index puts outside the file: libav would ask for as much memory as they say."""
    place = file.tell()
    length = file.seek(0, 2)
    file.seek(place)
    for stream in container.streams:
        for entry in stream.index_entries:
            if entry.size < 0 or entry.pos < 0 or entry.pos + entry.size > length:
                raise DataError(f"{name} ends before its index does, or is damaged; restore or remove it")


def packets(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """The stream's packets to the end, as many as anything real can have: a damaged file must end."""
    for number, packet in enumerate(container.demux(stream)):
        if number > MAX_PACKETS:
            raise DataError(f"{name}: more than {MAX_PACKETS} packets; cut it into shorter ones")
        yield packet
