"""Small valid files of every format that the data engine reads, how each is read, and how files are damaged."""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from sensorium.data.audio import probe_audio, read_audio
from sensorium.data.frames import open_all
from sensorium.data.images import open_picture, picture_size
from sensorium.data.mixture import Key
from sensorium.data.points import read_points
from sensorium.data.row import lay_row
from sensorium.data.share import Share
from sensorium.data.stream import Reading
from sensorium.data.video import video_frames
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut
from sensorium.layout import Layout
from sensorium.model import ModelConfig
from sensorium.recipe import find_recipe
from sensorium.sample import Image, Video


@dataclass(frozen=True)
class Format:
    """`make` gives the same files whenever it is called; `read` takes one the way that training does, and returns why
    samples in it were refused. A `DataError` refuses the whole file."""

    name: str
    make: Callable[[], list[bytes]]
    read: Callable[[Path], list[DataError]]


# reading


def read_picture(file: Path) -> list[DataError]:
    size = picture_size(file)
    assert open_picture(file).size == size, "the header says another size"
    return []


def read_sound(file: Path) -> list[DataError]:
    info, wave = probe_audio(file), read_audio(file, 16_000)
    assert wave.shape[0] == info.channels, "the header says another number of channels"
    assert np.isfinite(wave).all()
    return []


def read_video(file: Path) -> list[DataError]:
    frames = video_frames(Video(file, frames=4))
    for frame, picture in zip(frames, open_all([Image(frame) for frame in frames], "video"), strict=True):
        assert picture.size == frame.size, "a frame has another size"
    return []


def read_cloud(file: Path) -> list[DataError]:
    assert np.isfinite(read_points(file)).all()
    return []


def read_source(type: str, files: str, file: Path) -> list[DataError]:
    """All samples of a source whose key `files` names the file, once, packed into rows as in training. Every one is
    read or refused."""
    (file.parent / "a.png").write_bytes(pictures("png")[0])
    source = {"type": type, "folder": str(file.parent), files: file.name}
    reading = Reading((Share.from_dict({"source": source, "repeats": 1}),), 0, layout(), 1, layout().context, 4)
    packer, refused, read = reading.packer(lambda refusal: None), [], 0
    lay = packer.lay

    def noting(key: Key) -> LaidOut:
        try:
            return lay(key)
        except DataError as error:
            refused.append(error)
            raise

    packer.lay = noting
    while pack := packer.next_pack():
        read += len(lay_row(pack.laid, layout(), layout().context, lambda _, error: refused.append(error)).samples)
    (opened,) = reading.opened
    assert read + len(refused) == len(opened), f"{read} read and {len(refused)} refused of {len(opened)} samples"
    return refused


@cache
def layout() -> Layout:
    """Of a model of small pictures."""
    small = ("encoder.image_size=16", "encoder.patch_size=8", "connector=linear", "tokenizer.corpus=[]", "context=512")
    config = ModelConfig.model_validate(find_recipe("demo", *(f"model.{change}" for change in small)).model).resolved()
    return config.layout(config.make_tokenizer())


# making


def _saved(picture: PILImage.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(kind: str) -> list[bytes]:
    """The format's variants, of noise over a gradient so that every decoder has work."""
    dice = np.random.default_rng(0)
    noise = dice.integers(0, 60, (31, 40, 3)) + np.linspace(0, 190, 40)[None, :, None]
    rgb = PILImage.fromarray(noise.astype(np.uint8))
    grey16 = PILImage.fromarray((noise[..., 0] * 257).astype(np.uint16))
    palette = rgb.quantize(16)
    if kind == "png":
        return [_saved(rgb, kind), _saved(palette, kind, transparency=3), _saved(grey16, kind)]
    if kind == "jpeg":
        turned = PILImage.Exif()
        turned[0x0112] = 6
        cmyk = rgb.convert("CMYK")
        return [_saved(rgb, kind, exif=turned), _saved(rgb, kind, progressive=True), _saved(cmyk, kind)]
    if kind in ("gif", "webp"):
        moving = {"save_all": True, "append_images": [rgb.rotate(180)]}
        return [_saved(rgb, kind), _saved(rgb, kind, **moving), _saved(rgb.convert("RGBA"), kind)]
    if kind == "tiff":
        packed = [
            _saved(rgb, kind, compression=name) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
        ]
        return [_saved(rgb, kind), _saved(grey16, kind), _saved(rgb.convert("1"), kind, compression="group4"), *packed]
    return [_saved(rgb, kind), _saved(palette, kind), _saved(rgb.convert("1"), kind)]


def wave() -> np.ndarray:
    time = np.arange(4000) / 8000
    return np.stack([np.sin(2 * np.pi * pitch * time) / 3 for pitch in (440, 660)]).astype(np.float32)


def sounds(kind: str) -> list[bytes]:
    if kind == "ogg":
        return [_muxed("ogg", codec, sound=True) for codec in ("vorbis", "libopus")]
    import soundfile

    made = []
    for subtype in {"wav": ("PCM_16", "FLOAT", "IMA_ADPCM"), "flac": ("PCM_16",), "mp3": (None,)}[kind]:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave().T, 8000, format=kind, subtype=subtype)
        made.append(buffer.getvalue())
    return made


def videos(kind: str) -> list[bytes]:
    codecs = {
        "mp4": ("libx264", "mpeg4"),
        "mkv": ("libx264", "mjpeg"),
        "webm": ("libvpx-vp9", "libvpx"),
        "avi": ("mpeg4",),
    }
    container = {"mkv": "matroska"}.get(kind, kind)
    return [_muxed(container, codec, sound=False) for codec in codecs[kind]]


def _muxed(container: str, codec: str, sound: bool) -> bytes:
    """A second of sound, or of pictures with a keyframe every four, by libav."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, container_options={"fflags": "+bitexact"}) as opened:
        options = {"strict": "experimental", "flags": "+bitexact", "threads": "1"}
        if sound:
            stream: Any = opened.add_stream(codec, rate=48_000, options=options, layout="stereo")
            frames = [av.AudioFrame.from_ndarray(wave(), "fltp", "stereo")]
            frames[0].sample_rate = 48_000
        else:
            stream = opened.add_stream(codec, rate=10, options=options | {"g": "4"})
            stream.width, stream.height = 48, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            dice = np.random.default_rng(0)
            frames = [av.VideoFrame.from_ndarray(dice.integers(0, 255, (32, 48, 3), np.uint8)) for _ in range(10)]
        for frame in (*frames, None):
            opened.mux(stream.encode(frame))
    return buffer.getvalue()


def records() -> list[bytes]:
    rows = [{"id": f"r{i}", "image": "a.png", "caption": f"number {i} é", "more": {"a": [1, 2.5]}} for i in range(5)]
    return ["\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()]


def cells() -> list[bytes]:
    return ['id,image,caption\n1,a.png,"one, é"\n2,a.png,"two\nlines"\n3,a.png,three\n'.encode()]


def conversations() -> list[bytes]:
    turns = [{"from": "human", "value": "<image>\nWhat is it? é"}, {"from": "gpt", "value": "A thing."}]
    rows = [{"id": i, "image": "a.png", "conversations": turns} for i in range(4)]
    return [json.dumps(rows, ensure_ascii=False, indent=indent).encode() for indent in (None, 1)]


def shards() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        for key in range(3):
            for name, data in ((f"{key}.jpg", pictures("jpeg")[0]), (f"{key}.json", b'{"caption": "a b"}')):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
    return [buffer.getvalue()]


def arrays() -> list[bytes]:
    made = []
    for points in (np.ones((9, 6), np.float32), np.asfortranarray(np.ones((5, 3)))):
        buffer = io.BytesIO()
        np.save(buffer, points)
        made.append(buffer.getvalue())
    return made


def clouds() -> list[bytes]:
    columns = "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
    row = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1")])
    heads = [f"ply\nformat {order} 1.0\nelement vertex 4\n{columns}end_header\n" for order in
             ("ascii", "binary_little_endian")]  # fmt: skip
    return [(heads[0] + "1 2 3.5 255\n" * 4).encode(), heads[1].encode() + np.ones(4, row).tobytes()]


def tables() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = {"bytes": pictures("png")[0], "path": None}
    texts = [{"user": "What is it?", "assistant": "A thing, é."}]
    rows = [{"id": i, "images": [picture], "texts": texts, "relevance_ratings": [i]} for i in range(6)]
    made = []
    for compression in ("snappy", "none"):  # of which the second has less to notice damage by
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=3, compression=compression)
        made.append(buffer.getvalue())
    return made


def _each(names: str, make: Callable[[str], list[bytes]], read: Callable[[Path], list[DataError]]) -> list[Format]:
    return [Format(name, lambda name=name: make(name), read) for name in names.split()]


FORMATS: tuple[Format, ...] = (
    *_each("png jpeg gif webp bmp tiff", pictures, read_picture),
    *_each("wav flac ogg mp3", sounds, read_sound),
    *_each("mp4 mkv webm avi", videos, read_video),
    Format("json", conversations, partial(read_source, "llava", "file")),
    Format("jsonl", records, partial(read_source, "jsonl", "file")),
    Format("csv", cells, partial(read_source, "jsonl", "file")),
    Format("tar", shards, partial(read_source, "tar", "shards")),
    Format("npy", arrays, read_cloud),
    Format("ply", clouds, read_cloud),
    Format("parquet", tables, partial(read_source, "cauldron", "file")),
)
BY_NAME = ("json", "csv", "parquet")
"""Formats that are told by their names; all others are told by what is in them."""


# damage


def damaged(data: bytes, others: list[bytes], dice: random.Random) -> tuple[bytes, str]:
    """The file damaged in one to three ways, and their names."""
    ways = dice.choices((flipped, cut, spliced, blown_up, emptied), (8, 4, 4, 8, 0.3), k=dice.choice((1, 1, 2, 3)))
    for way in ways:
        data = way(data, others, dice)
    return data, "+".join(way.__name__ for way in ways)


def flipped(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A few bits."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 2, 8, 40)) if data else 0):
        changed[_place(changed, dice)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    return data[: _place(data, dice)]


def spliced(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A piece of this file or of another goes in, or over what was there."""
    donor, at = dice.choice([data, *others]), _place(data, dice)
    start = _place(donor, dice)
    piece = donor[start : start + dice.choice((4, 64, 1024))]
    return data[:at] + piece + data[at + dice.choice((0, len(piece))) :]


def blown_up(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Two to eight bytes that may be a length become an extreme one; or a number in text does."""
    size, at = dice.choice((2, 4, 8)), _place(data, dice)
    top = 1 << (8 * size)
    value = dice.choice((top - 1, top >> 1, (top >> 1) - 1, 0, 1 << dice.randrange(8 * size)))
    text = dice.choice((b"9", b"[", b"../", b"\\u0000", b"\\ud800")) * dice.choice((1, 3, 9, 19, 5000))
    piece = dice.choice((value.to_bytes(size, "big"), value.to_bytes(size, "little"), text))
    return data[:at] + piece + data[at + (1 if piece is text else size) :]


def sealed(name: str, data: bytes) -> bytes:
    """The file with its checksums made right again, so that what is behind them is reached."""
    return SEALS[name](bytearray(data)) if name in SEALS else data


def _seal_png(data: bytearray) -> bytes:
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 <= len(data):
            data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(data)


def _seal_tar(data: bytearray) -> bytes:
    for place in range(0, len(data) - 511, 512):
        if data[place + 257 : place + 262] == b"ustar":
            block = data[place : place + 148] + b" " * 8 + data[place + 156 : place + 512]
            data[place + 148 : place + 156] = b"%06o\0 " % sum(block)
    return bytes(data)


def _seal_ogg(data: bytearray) -> bytes:
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    for start, end in pairwise([*starts, len(data)]):
        if end - start >= 27:
            data[start + 22 : start + 26] = bytes(4)
            data[start + 22 : start + 26] = _ogg_checksum(data[start:end]).to_bytes(4, "little")
    return bytes(data)


def _ogg_checksum(page: bytes | bytearray) -> int:
    """RFC 3533, section 6: the polynomial 0x04c11db7, from 0, not reflected."""
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ 0x04C11DB7 if total >> 31 else total << 1) & 0xFFFFFFFF
    return total


SEALS: dict[str, Callable[[bytearray], bytes]] = {"png": _seal_png, "tar": _seal_tar, "ogg": _seal_ogg}


def emptied(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    return b""


def _place(data: bytes | bytearray, dice: random.Random) -> int:
    """Anywhere, and as often in the first hundred bytes, where headers are."""
    return dice.randrange(max(1, min(len(data), dice.choice((100, 1 << 30)))))
