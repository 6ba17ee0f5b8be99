"""Tar files read in place: which keys they hold, and where the bytes of each key's members lie."""

from __future__ import annotations

import posixpath
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from sensorium.data.files import Stored
from sensorium.data.index import Arrays, Texts, compact, indexed
from sensorium.data.records import share
from sensorium.errors import DataError

BLOCK = 10_240
"""Bytes that are read at a time behind the last member; writers fill their last block of so many with zeros."""


class Shard:
    """The keys of one tar file in the order of their first members. A key is a member's path up to its last dot; the
    rest is its ending. Of members of one name the last counts, as when a tar file is unpacked."""

    def __init__(self, file: Stored) -> None:
        self.file = file
        self.arrays = indexed([file], "tar", lambda: index_tar(file))
        self.keys, self.endings = Texts.of(self.arrays, "keys"), Texts.of(self.arrays, "endings")

    @property
    def shares(self) -> np.ndarray:
        """float64 `[keys]`: what the split of each key depends on."""
        return self.arrays["shares"]

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, place: int) -> dict[str, Stored]:
        """The files of a key, by their endings in lower case."""
        first, last = (int(self.arrays["firsts"][i]) for i in (place, place + 1))
        key, found = self.keys[place], {}
        for i in range(first, last):
            ending = self.endings[int(self.arrays["codes"][i])]
            offset, length = int(self.arrays["offsets"][i]), int(self.arrays["lengths"][i])
            found[ending.lower()] = Stored(self.file.file, key + ending, offset, length)
        return found


class Shards:
    """Several tar files as one list of keys, in the order of the files."""

    def __init__(self, files: Sequence[Stored]) -> None:
        self.shards = [Shard(file) for file in files]
        self.ends = np.cumsum([len(shard) for shard in self.shards])

    @property
    def shares(self) -> Iterator[np.ndarray]:
        """Of each file."""
        return (shard.shares for shard in self.shards)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> tuple[Shard, int]:
        """The shard of key `index`, and the key's place there."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self.shards[number], index - (int(self.ends[number - 1]) if number else 0)


def index_tar(file: Stored) -> Arrays:
    """The index of a tar file. A `DataError` for an empty or damaged one, and for a member that would lie outside the
    folder it were unpacked to."""
    keys: dict[str, int] = {}
    endings: dict[str, int] = {}
    numbers, codes, offsets, lengths = (array("q") for _ in range(4))
    for info in _members(file):
        name = info.name if "." not in info.name.split("/") else str(PurePosixPath(info.name))  # ./a is a
        key, ending = posixpath.splitext(name)
        numbers.append(keys.setdefault(key, len(keys)))
        codes.append(endings.setdefault(ending, len(endings)))
        offsets.append(info.offset_data)
        lengths.append(info.size)
    if not keys:
        raise DataError(f"{file}: holds no files; give a shard with key.png and key.json pairs")
    by_key = np.argsort(np.array(numbers), kind="stable")
    return {
        **Texts.pack(keys, "keys"),
        **Texts.pack(endings, "endings"),
        "shares": np.fromiter(map(share, keys), np.float64, len(keys)),
        "firsts": compact(np.searchsorted(np.array(numbers)[by_key], np.arange(len(keys) + 1))),
        "codes": compact(np.array(codes)[by_key]),
        "offsets": compact(np.array(offsets)[by_key]),
        "lengths": compact(np.array(lengths)[by_key]),
    }


def _refuse_rest(stream: BinaryIO, place: int, file: Stored) -> None:
    """A `DataError` unless zeros, and nothing else, follow the last member: tarfile takes a damaged header in the
    middle for the end, and all behind it would be lost without a word."""
    stream.seek(place)
    if not (rest := stream.read(BLOCK)):
        raise DataError(f"{file}: cut short at byte {place}, where its end is not marked; restore it")
    while rest:
        if any(rest):
            raise DataError(f"{file}: damaged from byte {place} on, or several archives in one; restore or repack it")
        place, rest = place + len(rest), stream.read(BLOCK)


def _members(file: Stored) -> Iterator[tarfile.TarInfo]:
    try:
        with file.stream() as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            while (info := opened.next()) is not None:
                opened.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                if info.name.startswith("/") or ".." in info.name.split("/") or info.issym() or info.islnk():
                    raise DataError(f"{file}: member '{info.name}' leads out of the archive; remove it")
                if info.isfile():
                    yield info
            _refuse_rest(stream, opened.offset, file)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{file}: not a readable tar file without compression ({error}); restore it") from None
