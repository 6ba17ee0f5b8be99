"""What of the data is in the evaluation sets, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from sensorium.curation.graph import bits
from sensorium.curation.pairs import caption_of, text_of
from sensorium.curation.scorers.picture_hash import dhash
from sensorium.curation.step import Kind, Scorer, Value
from sensorium.curation.words import grams, hashed, words_of
from sensorium.data.images import open_picture
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample

NOWHERE = 65
"""The distance of a sample without pictures: more than any two hashes of 64 bits have."""


class Contamination(Scorer, name="contamination"):
    """`overlap`: the share of a sample's runs of `gram` words that an evaluation set has too (n-gram overlap, as in
    Brown et al., arXiv 2005.14165, appendix C, with 8 to 13 words), and `text_in`, an evaluation sample that has one.
    `distance`: in how many of 64 bits the hash of its nearest picture differs from an evaluation picture's, and
    `picture_in`, whose it is.

    A text with fewer words than a run is one run by itself, so equal short answers count as overlap.
    """

    class Config(Scorer.Config):
        against: tuple[Source.Config, ...] = Field(min_length=1, description="the evaluation sets")
        samples: int | None = Field(default=None, ge=1, description="how many of each are read, by default all")
        gram: int = Field(default=8, ge=1, description="words in a run")
        answers: bool = Field(default=False, description="compare supervised texts alone, not all text")

        @property
        def columns(self) -> dict[str, Kind]:
            return {"overlap": "number", "text_in": "text", "distance": "number", "picture_in": "text"}

        def behind(self) -> str | None:
            return "/".join(source.fingerprint() or "" for source in self.against)

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.runs: dict[int, str] = {}
        hashes: dict[int, str] = {}
        for sample in self._evaluated():
            for run in self._runs(sample):
                self.runs.setdefault(run, sample.name)
            for picture in _hashes(sample):
                hashes.setdefault(picture, sample.name)
        self.hashes, self.owners = np.array(list(hashes), np.uint64), list(hashes.values())

    def _evaluated(self) -> Iterator[Sample]:
        for config in self.config.against:
            source: Source = config.build()
            for index in range(min(self.config.samples or len(source), len(source))):
                try:
                    yield source[index]
                except DataError:
                    continue  # what cannot be read is not asked either

    def _runs(self, sample: Sample) -> list[int]:
        text = caption_of(sample) if self.config.answers else text_of(sample)
        return [hashed(run) for run in grams(words_of(text), self.config.gram)]

    def read(self, sample: Sample) -> tuple[list[int], list[int]]:
        return self._runs(sample), _hashes(sample)

    def score(self, items: Sequence[tuple[list[int], list[int]]]) -> list[tuple[Value, ...]]:
        return [(*self._text(runs), *self._picture(hashes)) for runs, hashes in items]

    def _text(self, runs: list[int]) -> tuple[float, str]:
        found = [self.runs[run] for run in runs if run in self.runs]
        return len(found) / max(1, len(runs)), found[0] if found else ""

    def _picture(self, hashes: list[int]) -> tuple[float, str]:
        nearest = (float(NOWHERE), "")
        for one in hashes if self.owners else ():
            distances = bits(self.hashes ^ np.uint64(one))
            place = int(distances.argmin())
            nearest = min(nearest, (float(distances[place]), self.owners[place]))
        return nearest


def _hashes(sample: Sample) -> list[int]:
    return [dhash(open_picture(image.source, image.id or sample.name)) for image in sample.images]
