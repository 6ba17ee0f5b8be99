"""Bytes that lie somewhere: files and parts of files, on this machine or at an address that fsspec reads."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
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
        files, path = _filesystem(self.file)
        return files.open(path, "rb")

    def stamp(self) -> tuple[int, str]:
        """The file's size in bytes, and a text that is another when the file has changed: empty if that cannot be
        told, as of a file that was written a moment ago. A `DataError` if there is no such file."""
        try:
            if isinstance(self.file, Path):
                stat = self.file.stat()
                return stat.st_size, str(stat.st_mtime_ns) if time.time() - stat.st_mtime > TICK else ""
            files, path = _filesystem(self.file)
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
        return PurePosixPath(str(self.file)).name

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


@dataclass(frozen=True)
class Folder:
    """A folder that a user's own config names. What records say may name files in it, and nothing else."""

    root: Path | str
    """a path on this machine, or an address such as s3://bucket/folder"""

    @property
    def name(self) -> str:
        return PurePosixPath(str(self.root)).name

    def __str__(self) -> str:
        return str(self.root)

    def inner(self, relative: str) -> Folder:
        """A folder in this one, as a config names it."""
        if not relative:
            return self
        return Folder(self.root / relative if isinstance(self.root, Path) else f"{self.root}/{relative}")

    def matching(self, pattern: str) -> list[Stored]:
        """The files whose paths match a pattern such as `*.tar`, by name."""
        if isinstance(self.root, Path):
            return [Stored(file) for file in sorted(self.root.glob(pattern)) if file.is_file()]
        files, path = _filesystem(self.root)
        root = path.rstrip("/") + "/"
        found = sorted(str(file) for file in files.glob(root + pattern))
        return [Stored(f"{self.root}/{file.removeprefix(root)}") for file in found if file.startswith(root)]

    def listing(self) -> list[str]:
        """The paths in the folder of all files in it and below, in order; hidden ones aside."""
        if isinstance(self.root, Path):
            found = [Path(at, name).relative_to(self.root) for at, _, names in os.walk(self.root) for name in names]
            paths = [PurePosixPath(path) for path in found]
        else:
            files, path = _filesystem(self.root)
            root = path.rstrip("/") + "/"
            paths = [PurePosixPath(file.removeprefix(root)) for file in files.find(root) if file.startswith(root)]
        return sorted(str(path) for path in paths if not any(part.startswith(".") for part in path.parts))

    def find(self, relative: str, name: str) -> Stored:
        """The file that a record names; a `DataError` that begins with `name` if it lies elsewhere or, on this
        machine, if it is not there. At addresses that shows when it is read: asking would cost as much."""
        if is_address(relative):
            raise DataError(f"{name}: '{relative[:99]}' is an address; fetch the file into {self} and name it there")
        if not isinstance(self.root, Path):
            path = PurePosixPath(relative)
            if path.is_absolute() or ".." in path.parts or any(sign in relative for sign in "\\%?#\0"):
                raise DataError(f"{name}: the path '{relative}' may lead out of {self}; use a plain path inside it")
            return Stored(f"{self.root}/{relative}")
        file = self.root / relative
        try:
            if not file.resolve().is_relative_to(self._resolved):
                raise DataError(f"{name}: the path '{relative}' leads out of {self}; use a path inside the folder")
            there = file.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, links in a circle
            raise DataError(f"{name}: {relative[:99]!r} cannot be a path ({error}); correct it") from None
        if not there:
            raise DataError(f"{name}: no file {file}; restore it, or remove the line")
        return Stored(file)

    @cached_property
    def _resolved(self) -> Path:
        return Path(self.root).resolve()


def _read(file: Path | str, offset: int, length: int | None) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(-1 if length is None else length)
    files, path = _filesystem(file)
    try:
        return files.cat_file(path, start=offset, end=None if length is None else offset + length)
    except OSError:
        raise
    except Exception as error:  # every store's client has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def _filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, which it keeps for each process, and the path there."""
    need("fsspec", "data", f"the address {address}")
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{address}: {error}; install what reads such addresses, or correct it") from None
