"""Folders of data: where they are, and which files in them may be read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from sensorium.config import Config
from sensorium.data.source import Source
from sensorium.errors import DataError

ENVIRONMENT = "SENSORIUM_DATA"
"""The environment variable that names the folder of data folders, for recipes whose `data` is not set."""
EDGE = 65_536
"""Bytes of each end of a file that its fingerprint depends on."""

C = TypeVar("C", bound=Config)


class FolderConfig(Source.Config):
    """Base of the configs of sources that read a folder."""

    folder: Path = Field(description=f"absolute, or relative to root, to ${ENVIRONMENT} or to where you are")
    root: Path | None = Field(default=None, description="the recipe's `data`, which is written here")
    hint: str = Field(default="", description="what to do when the folder is not there")

    def place(self) -> Path:
        """The folder as an existing path; a `DataError` that says how to get it if there is none."""
        root = self.root or os.environ.get(ENVIRONMENT) or Path()
        folder = (Path(root) / self.folder).expanduser()
        if folder.is_dir():
            return folder
        fix = f"give the folder that holds '{self.folder}' as data=FOLDER or in ${ENVIRONMENT}"
        raise DataError(f"{folder}: no such folder; {fix}{'; ' + self.hint if self.hint else ''}")

    def files(self) -> list[Path]:
        """The files that say what samples there are, in order."""
        return []

    def fingerprint(self) -> str | None:
        """SHA-256 over the files' names and sizes and their first and last 64 KiB, which costs the same for shards of
        any size. It misses a change of the same length in the middle of a longer file, and pictures beside the
        files."""
        digest = hashlib.sha256()
        for file in (files := self.files()):
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(EDGE))
                opened.seek(max(0, size - EDGE))
                digest.update(opened.read(EDGE))
        return digest.hexdigest() if files else None


def rooted(config: C, root: Path) -> C:
    """The config with `root` written into every source in it that reads a folder, at any depth."""
    changed = {name: _rooted(getattr(config, name), root) for name in type(config).model_fields}
    if isinstance(config, FolderConfig):
        changed["root"] = root
    return config.model_copy(update=changed)


def _rooted(value: object, root: Path) -> object:
    if isinstance(value, Config):
        return rooted(value, root)
    if isinstance(value, tuple | list):
        return type(value)(_rooted(item, root) for item in value)
    return value


def inside(folder: Path, relative: str, name: str) -> Path:
    """The file `relative` of `folder`; a `DataError` that begins with `name` if it climbs out or is not there."""
    file = folder / relative
    try:
        outside = not file.resolve().is_relative_to(folder.resolve())
        there = not outside and file.is_file()
    except (OSError, ValueError) as error:  # too long, a null byte, half a character
        raise DataError(f"{name}: the path {relative[:80]!r} cannot be one ({error}); correct or remove it") from None
    if outside:
        raise DataError(f"{name}: the path '{relative}' leads out of {folder}; use a path inside the folder")
    if not there:
        raise DataError(f"{name}: no file {file}; restore it, or remove the line")
    return file
