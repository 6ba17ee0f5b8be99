"""Modalities that lie apart, each in a folder or in tar files, and belong together by their names (as 4M has them,
arXiv 2312.06647)."""

from __future__ import annotations

import glob
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from pydantic import Field

from sensorium.config import Config as Plain
from sensorium.data.files import Stored
from sensorium.data.folder import Folder
from sensorium.data.index import Texts
from sensorium.data.records import SplitConfig, chosen, share
from sensorium.data.references import ENDINGS, read_text, segment
from sensorium.data.shards import Shards
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


class Modality(Plain):
    """Where one modality lies, and what it is."""

    name: str = Field(min_length=1, description="a folder of files, a folder of tar files, or a tar file less its .tar")
    kind: Literal["image", "audio", "text"] = Field(description="how it is read")


class Aligned(Source, name="aligned"):
    """Files of one stem in several modalities are one sample, in the order that the config names. Texts are supervised
    running text. The first modality says which stems there are; of the others, each must have them.

    A stem is a path less its ending, in its folder or its only tar file; in one of several, after the tar file's name.
    """

    class Config(SplitConfig):
        modalities: tuple[Modality, ...] = Field(min_length=1, description="what a sample consists of, in order")

        def files(self) -> list[Stored]:
            folder = self.place()
            return [tar for modality in self.modalities for tar in _tars(folder, modality.name)]

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.piles = [_pile(config.place(), modality) for modality in config.modalities]
        self.kept = chosen(len(self.piles[0].stems), [self.piles[0].shares], config)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Sample:
        stem = self.piles[0].stems[int(self.kept[index])]
        return Sample(tuple(pile.read(stem) for pile in self.piles), id=stem, source=self.config.title)


class Pile(ABC):
    """The files of one modality, found by their stems: a list of them all, and numbers by which it is searched."""

    def __init__(self, modality: Modality, stems: Sequence[str]) -> None:
        self.modality = modality
        self.stems = Texts.of(Texts.pack(stems, "stems"), "stems")
        self.shares = np.fromiter(map(share, stems), np.float64, len(stems))
        self.order = np.argsort(self.shares)

    def read(self, stem: str) -> Segment:
        """The modality of a stem; a `DataError` if it has none."""
        name, kind = f"{self.modality.name}/{stem}", self.modality.kind
        file = self.file(self._place(stem), name)
        if kind == "text":
            return Text(read_text(file), role="document", supervise=True, id=name)
        return replace(segment(kind, file.plain, "document"), id=name)

    @abstractmethod
    def file(self, place: int, name: str) -> Stored:
        """The file of the stem at `place`; a `DataError` that begins with `name` if it is gone."""

    def _place(self, stem: str) -> int:
        known = share(stem)
        first, last = (np.searchsorted(self.shares, known, side, sorter=self.order) for side in ("left", "right"))
        for place in self.order[first:last]:
            if self.stems[int(place)] == stem:
                return int(place)
        raise DataError(
            f"{self.modality.name}/{stem}: no such file, and another modality has one; add it, or remove it"
        )


class Listed(Pile):
    """Files in a folder."""

    def __init__(self, modality: Modality, folder: Folder) -> None:
        endings = ENDINGS[modality.kind]
        self.folder = folder
        paths = [path for path in folder.listing() if path.lower().endswith(endings)]
        stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
        if not paths or len(set(stems)) < len(stems):
            found = f"{len(paths)} files that end in {', '.join(endings)}, of {len(set(stems))} stems"
            raise DataError(f"{folder}: found {found}; give files of different stems in it")
        super().__init__(modality, stems)
        self.paths = Texts.of(Texts.pack(paths, "paths"), "paths")

    def file(self, place: int, name: str) -> Stored:
        return self.folder.find(self.paths[place], name)


class Tarred(Pile):
    """Members of tar files."""

    def __init__(self, modality: Modality, tars: Sequence[Stored]) -> None:
        self.shards = Shards(tars)
        before = [f"{tar.title.removesuffix('.tar')}/" if len(tars) > 1 else "" for tar in tars]
        shards = zip(before, self.shards.shards, strict=True)
        super().__init__(modality, [head + shard.keys[i] for head, shard in shards for i in range(len(shard))])

    def file(self, place: int, name: str) -> Stored:
        shard, at = self.shards[place]
        members = shard.members(at)
        if found := [members[ending] for ending in ENDINGS[self.modality.kind] if ending in members]:
            return found[0]
        wanted = ", ".join(ENDINGS[self.modality.kind])
        raise DataError(
            f"{name}: found {', '.join(members)} in {shard.file}; as {self.modality.kind}, {wanted} are read"
        )


def _pile(folder: Folder, modality: Modality) -> Pile:
    tars = _tars(folder, modality.name)
    return Tarred(modality, tars) if tars else Listed(modality, folder.inner(modality.name))


def _tars(folder: Folder, name: str) -> list[Stored]:
    return folder.matching(f"{glob.escape(name)}.tar") or folder.matching(f"{glob.escape(name)}/*.tar")
