"""What a sample teaches, and in which style: linear maps from words, learned from a few annotated samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from sensorium.atomic import write_file
from sensorium.curation.pairs import text_of
from sensorium.curation.scorers.text_features import TextFeatures
from sensorium.curation.step import Kind, Scorer, Value
from sensorium.curation.words import words_of
from sensorium.data.records import look_up
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample

STYLE, WEIGHTS, STYLES = "style", "weights.npy", "styles.json"


class Capabilities(Scorer, name="capabilities"):
    """The scorer and the styler of mmSSR (Lyu et al., arXiv 2503.13383) in small: a column for each capability, how
    much a sample teaches of it, and `style`, what kind of exchange it is. The selector `mmssr` reads them.

    Both are learned from `annotated` samples, as there from a judge's; here by ridge regression on hashed words and
    pairs of words of all text, there by two models of 7 billion parameters that see the pictures, too. The style is
    the one of which the regression is surest, so a sample has one, where the paper's may have several.
    """

    class Config(Scorer.Config):
        annotated: tuple[Source.Config, ...] = Field(min_length=1, description="samples that say both in `Sample.meta`")
        capabilities: tuple[str, ...] = Field(
            min_length=1, description="fields with scores, record.scores.ocr for example; the column is ocr"
        )
        style: str = Field(description="the field with the name of a style")
        dim: int = Field(default=1024, ge=2, description="places that words and pairs of words share by hash")
        ridge: float = Field(default=1.0, gt=0, description="added to the diagonal, in samples")

        @model_validator(mode="after")
        def _columns_differ(self) -> Self:
            if len({*self.columns}) <= len(self.capabilities):
                raise ValueError(f"capabilities: the last words of {self.capabilities} must differ, and from '{STYLE}'")
            return self

        @property
        def columns(self) -> dict[str, Kind]:
            return {**{field.rpartition(".")[2]: "number" for field in self.capabilities}, STYLE: "text"}

        def behind(self) -> str:
            return "/".join(str(source.fingerprint()) for source in self.annotated)

    config: Config
    learns = True

    @classmethod
    def fit(cls, config: Config, folder: Path) -> None:
        sources = [source.build() for source in config.annotated]
        samples = [source[index] for source in sources for index in range(len(source))]
        features = features_of(samples, config.dim)
        scores = np.array([[_score(sample, field) for field in config.capabilities] for sample in samples])
        named = [_style(sample, config.style) for sample in samples]
        styles = sorted(set(named))
        chosen = np.array([[float(name == style) for style in styles] for name in named])
        np.save(folder / WEIGHTS, fit_ridge(features, np.concatenate([scores, chosen], axis=1), config.ridge))
        write_file(folder / STYLES, json.dumps(styles))

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.weights = np.load(fitted / WEIGHTS, allow_pickle=False)
        self.styles: list[str] = json.loads((fitted / STYLES).read_text())

    def score(self, items: Sequence[Sample]) -> list[tuple[Value, ...]]:
        found = features_of(items, self.config.dim) @ self.weights
        count = len(self.config.capabilities)
        surest = found[:, count:].argmax(axis=1)
        return [(*row[:count].tolist(), self.styles[style]) for row, style in zip(found, surest, strict=True)]


def features_of(samples: Sequence[Sample], dim: int) -> np.ndarray:
    """Hashed words and pairs of words of all text, float64 `[n, dim + 1]`; the last is 1, so that maps have a bias."""
    hashing = TextFeatures(TextFeatures.Config(dim=dim), Path())
    vectors = [hashing.vector(words_of(text_of(sample))) for sample in samples]
    return np.concatenate([np.array(vectors, np.float64), np.ones((len(vectors), 1))], axis=1)


def fit_ridge(features: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """The weights `[dim, outputs]` of ridge regression (Hoerl & Kennard, 1970); the last feature, the bias, is free."""
    penalty = np.full(features.shape[1], strength)
    penalty[-1] = 0
    return np.linalg.solve(features.T @ features + np.diag(penalty), features.T @ targets)


def _score(sample: Sample, field: str) -> float:
    found = look_up(sample.meta, field)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise DataError(f"{sample.name}: '{field}' is {found!r}, not a score; annotate it, or leave the sample out")
    return float(found)


def _style(sample: Sample, field: str) -> str:
    found = look_up(sample.meta, field)
    if not isinstance(found, str) or not found:
        raise DataError(f"{sample.name}: '{field}' is {found!r}, not a style; annotate it, or leave the sample out")
    return found
