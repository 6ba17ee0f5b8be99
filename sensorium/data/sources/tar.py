"""Tar shards of `key.png` and `key.json` pairs (the form of webdataset), read in place: nothing is unpacked."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image as PILImage
from pydantic import Field

from sensorium.data.images import open_picture, picture_size
from sensorium.data.records import RecordConfig, chosen, make_sample, read_record
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


@dataclass(frozen=True)
class Member:
    """A file inside a tar file: `length` bytes from `offset`. It is a `Picture`, decoded when it is opened."""

    shard: Path
    name: str
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes; a `DataError` if the shard is gone or shorter than it was."""
        try:
            with self.shard.open("rb") as opened:
                opened.seek(self.offset)
                found = opened.read(self.length)
        except OSError as error:
            raise DataError(f"{self}: cannot be read ({error}); restore the shard") from None
        if len(found) != self.length:
            raise DataError(f"{self}: cut short at {len(found)} of {self.length} bytes; restore the shard")
        return found

    @property
    def size(self) -> tuple[int, int]:
        return picture_size(self.read(), str(self))

    def open(self) -> PILImage.Image:
        return open_picture(self.read(), str(self))

    def __str__(self) -> str:
        return f"{self.shard.name}:{self.name}"


class TarShards(Source, name="tar"):
    """A sample a key and shard, in the order of the shards' names and of their members.

    Splits are by key, so that what several shards say under one key is in the same split.
    """

    class Config(RecordConfig):
        shards: str = Field(default="*.tar", description="which files of the folder, as a pattern")

        @classmethod
        def example(cls) -> None:
            return None

        def files(self) -> list[Path]:
            folder = self.place()
            if shards := sorted(folder.glob(self.shards)):
                return shards
            raise DataError(f"{folder}: no file matches '{self.shards}'; check folder and shards")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        entries = [entry for shard in config.files() for entry in index_shard(shard)]
        self.entries = [entries[i] for i in chosen([key for key, _ in entries], config)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        key, members = self.entries[index]
        shard = next(iter(members.values())).shard
        name = f"{shard.name}:{key}"
        picture = next((members[ending] for ending in PICTURES if ending in members), None)
        if picture is None or ".json" not in members:
            found = ", ".join(key + ending for ending in members)
            raise DataError(f"{name}: needs a picture and a .json, found {found}; add or remove the key")
        described = members[".json"]
        record = read_record(described.read(), str(described))
        return make_sample(self.config, record, picture, f"{shard.stem}/{key}", name)


def index_shard(shard: Path) -> list[tuple[str, dict[str, Member]]]:
    """(key, members by ending) of every key, in order. A `DataError` for an empty or damaged file, and for a member
    that would lie outside the folder it were unpacked to."""
    entries: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(shard, "r:") as opened:
            for info in opened:
                path = PurePosixPath(info.name)
                if path.is_absolute() or ".." in path.parts or info.issym() or info.islnk():
                    raise DataError(f"{shard}: member '{info.name}' leads out of the archive; remove it")
                if info.isfile():
                    member = Member(shard, info.name, info.offset_data, info.size)
                    entries.setdefault(str(path.with_suffix("")), {})[path.suffix.lower()] = member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: not a readable tar file without compression ({error}); restore it") from None
    if not entries:
        raise DataError(f"{shard}: holds no files; give a shard with key.png and key.json pairs")
    return list(entries.items())
