"""Folders of data: where they are, and which files in them say what samples there are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field

from sensorium.config import Config
from sensorium.data.files import Folder, Stored, is_address
from sensorium.data.source import Source
from sensorium.errors import DataError

ENVIRONMENT = "SENSORIUM_DATA"
"""The environment variable that names the folder of data folders, for recipes whose `data` is not set."""
EDGE = 65_536
"""Bytes of each end of a file that its fingerprint depends on."""

Address = Annotated[str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, Path) else value)]
"""A path on this machine, or an address such as s3://bucket/folder."""
C = TypeVar("C", bound=Config)


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
        root = self.root or os.environ.get(ENVIRONMENT) or ""
        if is_address(self.folder):
            return Folder(self.folder.rstrip("/"))
        if is_address(root):
            return Folder(f"{root.rstrip('/')}/{self.folder.rstrip('/')}")
        folder = (Path(root) / self.folder).expanduser()
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
    return value
