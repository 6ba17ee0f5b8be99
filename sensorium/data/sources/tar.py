"""Tar shards of pictures with what is said about them (the form of webdataset), read in place: nothing is unpacked."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sensorium.data.files import Stored
from sensorium.data.records import TemplateConfig, chosen, make_sample, read_record
from sensorium.data.references import ENDINGS, read_text
from sensorium.data.shards import Shards
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample


class TarShards(Source, name="tar"):
    """Shards of `key.png` and `key.json`, or `key.txt`, which is the record's `caption`. A sample a key and shard, in
    the order of the shards' names and of their members.

    Splits are by key, so that what several shards say under one key is in the same split.
    """

    class Config(TemplateConfig):
        shards: str = Field(default="*.tar", description="which files of the folder, as a pattern")

        def files(self) -> list[Stored]:
            folder = self.place()
            if shards := folder.matching(self.shards):
                return shards
            raise DataError(f"{folder}: no file matches '{self.shards}'; check folder and shards")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.shards = Shards(config.files())
        self.kept = chosen(len(self.shards), self.shards.shares, config)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Sample:
        shard, place = self.shards[int(self.kept[index])]
        key, members = shard.keys[place], shard.members(place)
        name = f"{shard.file.title}:{key}"
        picture = next((members[ending] for ending in ENDINGS["image"] if ending in members), None)
        if picture is None or not {".json", ".txt"} & members.keys():
            found = ", ".join(key + ending for ending in members)
            raise DataError(f"{name}: needs a picture and a .json or .txt, found {found}; add or remove the key")
        stem = shard.file.title.removesuffix(".tar")
        return make_sample(self.config, described(members), picture, f"{stem}/{key}", name)


def described(members: dict[str, Stored]) -> dict[str, Any]:
    """What a key's .json says, and its .txt as `caption`."""
    record = read_record(file.read(), str(file)) if (file := members.get(".json")) else {}
    return record | {"caption": read_text(file)} if (file := members.get(".txt")) else record
