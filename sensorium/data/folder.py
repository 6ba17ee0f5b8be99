"""Folders of data: where they are, and which files in them say what samples there are."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field

from sensorium.config import Config
from sensorium.data.files import Stored, filesystem, is_address
from sensorium.data.source import Source
from sensorium.errors import DataError

ENVIRONMENT = "SENSORIUM_DATA"
"""The environment variable that names the folder of data folders, for recipes whose `data` is not set."""
HERE = "file://"
"""An address that is a path on this machine, and is read as such."""
EDGE = 65_536
"""Bytes of each end of a file that its fingerprint depends on."""

Address = Annotated[str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, Path) else value)]
"""A path on this machine, or an address such as s3://bucket/folder."""
C = TypeVar("C", bound=Config)


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
        files, path = filesystem(self.root)
        root = path.rstrip("/") + "/"
        found = sorted(str(file) for file in files.glob(root + pattern))
        return [Stored(f"{self.root}/{file.removeprefix(root)}") for file in found if file.startswith(root)]

    def listing(self) -> list[str]:
        """The paths in the folder of all files in it and below, in order; hidden ones aside."""
        if isinstance(self.root, Path):
            found = [Path(at, name).relative_to(self.root) for at, _, names in os.walk(self.root) for name in names]
            paths = [PurePosixPath(path) for path in found]
        else:
            files, path = filesystem(self.root)
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


class FolderConfig(Source.Config):
    """Base of the configs of sources that read a folder."""

    folder: Address = Field(
        min_length=1,
        description=f"absolute, or relative to root, to ${ENVIRONMENT} or to where you are; or an address that fsspec "
        "reads, such as s3://bucket/folder",
    )
    root: Address | None = Field(default=None, description="the recipe's `data`, which is written here")
    hint: str = Field(default="", description="what to do when the folder is not there")

    def place(self) -> Folder:
        """Where the folder is; a `DataError` that says how to get it if it should be on this machine and is not."""
        root = (self.root or os.environ.get(ENVIRONMENT) or "").removeprefix(HERE)
        named = self.folder.removeprefix(HERE)
        if is_address(named):
            return Folder(named.rstrip("/"))
        if is_address(root):
            return Folder(f"{root.rstrip('/')}/{named.rstrip('/')}")
        folder = (Path(root) / named).expanduser()
        if folder.is_dir():
            return Folder(folder)
        fix = f"give the folder that holds '{self.folder}' as data=FOLDER or in ${ENVIRONMENT}"
        raise DataError(f"{folder}: no such folder; {fix}{'; ' + self.hint if self.hint else ''}")

    @property
    def title(self) -> str:
        """What samples say they come from: the folder's own name."""
        return Path(self.folder).name

    def files(self) -> list[Stored]:
        """The files that say what samples there are, in order."""
        return []

    def fingerprint(self) -> str | None:
        """SHA-256 over the files' names and sizes and their first and last 64 KiB, which costs the same for shards of
        any size. It misses a change of the same length in the middle of a longer file, and pictures beside the
        files."""
        digest = hashlib.sha256()
        for file in (files := self.files()):
            size, _ = file.stamp()
            digest.update(f"{file.title}\0{size}\0".encode())
            digest.update(file.read(EDGE))
            digest.update(Stored(file.file, offset=max(0, size - EDGE)).read(EDGE))
        return digest.hexdigest() if files else None


def rooted(config: C, root: str) -> C:
    """The config with `root` written into every source in it that reads a folder, at any depth."""
    changed = {name: _rooted(getattr(config, name), root) for name in type(config).model_fields}
    if isinstance(config, FolderConfig):
        changed["root"] = root
    return config.model_copy(update=changed)


def _rooted(value: object, root: str) -> object:
    if isinstance(value, Config):
        return rooted(value, root)
    if isinstance(value, tuple | list):
        return type(value)(_rooted(item, root) for item in value)
    if isinstance(value, dict):
        return {key: _rooted(item, root) for key, item in value.items()}
    return value
