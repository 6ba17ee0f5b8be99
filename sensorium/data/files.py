"""Bytes that lie somewhere: files and parts of files, on this machine or at an address that fsspec reads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from PIL import Image as PILImage

from sensorium.assets import need
from sensorium.data.images import open_picture, picture_size
from sensorium.errors import ConfigError, DataError

HEADER = 65_536
"""Bytes from which the size of most pictures is known."""
TICK = 2.0
"""Seconds in which a file may change twice without its time showing it, on the coarsest of file systems."""


def is_address(text: str) -> bool:
    return "://" in text


@dataclass(frozen=True)
class Stored:
    """A whole file, or `length` bytes from `offset` of one (a member of a tar file). It is read when it is asked for,
    and is a `Picture`: what may be the `source` of a segment."""

    file: Path | str
    """a path on this machine, or an address such as s3://bucket/file"""
    member: str = ""
    """what a part of a file is called in messages"""
    offset: int = 0
    length: int | None = None
    """None: to the end"""

    @property
    def name(self) -> str:
        return str(self)

    def read(self, most: int | None = None) -> bytes:
        """The bytes, or the first `most` of them; a `DataError` if the file is gone or shorter than it was."""
        asked = min((n for n in (self.length, most) if n is not None), default=None)
        try:
            found = _read(self.file, self.offset, asked)
        except FileNotFoundError:
            raise DataError(f"{self}: no file {self.file}; restore it") from None
        except OSError as error:
            raise DataError(f"{self}: cannot be read ({error}); restore the file") from None
        if self.length is not None and asked is not None and len(found) != asked:
            raise DataError(f"{self}: cut short at {len(found)} of {asked} bytes; restore the file")
        return found

    def stream(self) -> BinaryIO:
        """The file, opened for reading from its start. Whoever opens it closes it, and meets its `OSError`s."""
        if isinstance(self.file, Path):
            return self.file.open("rb")
        files, path = filesystem(self.file)
        return files.open(path, "rb")

    def stamp(self) -> tuple[int, str]:
        """The file's size in bytes, and a text that is another when the file has changed: empty if that cannot be
        told, as of a file that was written a moment ago. A `DataError` if there is no such file."""
        try:
            if isinstance(self.file, Path):
                stat = self.file.stat()
                return stat.st_size, str(stat.st_mtime_ns) if time.time() - stat.st_mtime > TICK else ""
            files, path = filesystem(self.file)
            known = files.info(path)
        except OSError as error:
            raise DataError(f"{self.file}: cannot be read ({error}); restore the file") from None
        changed = [f"{key}={known[key]}" for key in CHANGED if known.get(key)]
        return int(known.get("size") or 0), " ".join(changed)

    @property
    def plain(self) -> Path | Stored:
        """The path alone where that says all, so that decoders can read a file in parts; else this."""
        whole = not self.offset and self.length is None
        return self.file if whole and isinstance(self.file, Path) else self

    @property
    def title(self) -> str:
        """The last part of the file's path."""
        return self.file.name if isinstance(self.file, Path) else PurePosixPath(self.file).name

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture that the bytes are; mostly from their beginning alone."""
        try:
            return picture_size(self.read(HEADER), str(self))
        except DataError:
            return picture_size(self.read(), str(self))

    def open(self) -> PILImage.Image:
        return open_picture(self.read(), str(self))

    def __str__(self) -> str:
        return f"{self.title}:{self.member}" if self.member else str(self.file)


CHANGED = ("ETag", "etag", "LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")
"""What the file systems of fsspec call the time or the version of a file."""


def _read(file: Path | str, offset: int, length: int | None) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(-1 if length is None else length)
    files, path = filesystem(file)
    try:
        return files.cat_file(path, start=offset, end=None if length is None else offset + length)
    except OSError:
        raise
    except Exception as error:  # every store's client has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, which it keeps for each process, and the path there."""
    need("fsspec", "data", f"the address {address}")
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{address}: {error}; install what reads such addresses, or correct it") from None
