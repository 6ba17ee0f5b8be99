"""Files and folders that are there whole or not at all: written beside their place, and renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def partial_of(place: Path) -> Path:
    """Where `place` is written before it is whole; a kill may leave it behind, and the next attempt replaces it."""
    return place.with_name(f".{place.name}.partial")


def write_file(file: Path, held: str | bytes) -> None:
    """Make or replace `file` with a text or with bytes, atomically."""
    raw = held.encode() if isinstance(held, str) else held
    write_with(file, lambda partial: partial.write_bytes(raw))


def write_with(file: Path, write: Callable[[Path], object]) -> None:
    """Make or replace `file` with what `write` puts at the path it is given, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(file)
    write(partial)
    _to_disk(partial)
    os.replace(partial, file)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make `folder` with what `fill` writes into it, atomically; an older folder of that name is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    fill(partial)
    for file in partial.iterdir():
        _to_disk(file)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def _to_disk(file: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())
