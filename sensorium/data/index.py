"""Indexes of large files: made once, kept in a folder of caches, mapped into memory so that processes share them.

An index is a few numpy arrays. It is kept under a name that depends on the file's address, size and time, so that a
changed file has another; the folder (`$SENSORIUM_CACHE`, or ~/.cache/sensorium) may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np

from sensorium.data.files import Stored

CACHE = "SENSORIUM_CACHE"
VERSION = 2
"""Of the form of indexes: another finds none that was kept."""
DTYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "F64": np.float64, "BOOL": np.bool_}

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "sensorium").expanduser()


def indexed(files: Sequence[Stored], kind: str, build: Callable[[], Arrays]) -> Arrays:
    """What `build` makes of the files, from the cache if it was made before; `kind` says what and how."""
    kept = _kept(files, kind)
    if kept is None:
        return build()
    if (found := _mapped(kept)) is not None:
        return found
    made = build()
    _write(made, kept)
    return _mapped(kept) or made


def _kept(files: Sequence[Stored], kind: str) -> Path | None:
    """The file of an index; None where a change of what was read would not show."""
    resolved = cache(os.path.realpath)  # of folders, which many files share

    def place(file: Path | str) -> str:
        if isinstance(file, str):
            return file
        folder, name = os.path.split(file)
        return os.path.realpath(file) if os.path.islink(file) else os.path.join(resolved(folder), name)

    stamps = [(place(f.file), *f.stamp()) for f in files]
    if not stamps or not all(changed for *_, changed in stamps):
        return None
    digest = hashlib.sha256(json.dumps([VERSION, kind, stamps]).encode()).hexdigest()
    return cache_folder() / "indexes" / f"{digest}.safetensors"


def _write(arrays: Arrays, file: Path) -> None:
    """Whole or not at all; a cache that cannot be written is no reason to stop."""
    from safetensors.numpy import save

    unfinished = file.with_suffix(f".{uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(save(arrays))
        unfinished.replace(file)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _mapped(file: Path) -> Arrays | None:
    """The arrays of a safetensors file, mapped and read-only; None if it is not there or not whole."""
    try:
        raw = np.asarray(np.memmap(file, np.uint8, "r"))
        start = 8 + int(raw[:8].view(np.uint64)[0])
        header = json.loads(raw[8:start].tobytes())
        return {name: _view(raw[start:], **entry) for name, entry in header.items()}
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None


def _view(data: np.ndarray, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    start, end = data_offsets
    return data[start:end].view(DTYPES[dtype]).reshape(shape)


def compact(numbers: Iterable[int]) -> np.ndarray:
    """Numbers from 0 in the smallest type that holds them."""
    array = np.asarray(numbers if isinstance(numbers, np.ndarray) else list(numbers), dtype=np.int64)
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


class Texts:
    """Many short texts as two arrays: their bytes one after the other, and where each ends."""

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data, self.ends = data, ends

    @staticmethod
    def pack(texts: Iterable[str], name: str) -> Arrays:
        """The arrays `name` and `name_ends`. Names of files may hold lone surrogates, which pass."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}_ends": compact(ends)}

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> Texts:
        return cls(arrays[name], arrays[f"{name}_ends"])

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.data[start : int(self.ends[index])].tobytes().decode("utf-8", "surrogatepass")
