"""A sound in windows of the encoder's length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from sensorium.data.audio import read_audio, sound_length
from sensorium.data.tiling import TilePlan, Tiling
from sensorium.errors import DataError
from sensorium.sample import Audio


class Windows(Tiling, name="windows"):
    """One window after the other, the last filled up with silence (Whisper, arXiv 2212.04356, section 2.2). Sounds are
    brought to the encoder's rate, and several channels to their mean."""

    reads = Audio

    class Config(Tiling.Config):
        samples_a_second: int = Field(default=16_000, ge=1000, description="the encoder's")
        most: int = Field(default=10, ge=1, description="windows of the longest sound that is read")

        @property
        def rate(self) -> int:
            return self.samples_a_second

        @property
        def max_tiles(self) -> int:
            return self.most

    config: Config

    def size_of(self, segment: Any, name: str) -> tuple[int, int]:
        """The samples at the encoder's rate, and 1."""
        return sound_length(segment.source, self.config.rate, segment.id or name), 1

    def opened(self, segments: Sequence[Any], name: str) -> Iterator[np.ndarray]:
        """float32 `[1, samples]` of each."""
        for segment in segments:
            yield read_audio(segment.source, self.config.rate, mono=True, name=segment.id or name)

    def measured(self, opened: np.ndarray) -> tuple[int, int]:
        return opened.shape[1], 1

    def blank(self) -> np.ndarray:
        return np.zeros((0, 1, 1, self.input_size[0]), dtype=np.float32)

    def plan(self, size: tuple[int, int]) -> TilePlan:
        window, seconds = self.input_size[0], size[0] / self.config.rate
        windows = max(1, math.ceil(size[0] / window))
        if windows > self.config.most:
            longest = self.config.most * window / self.config.rate
            raise DataError(
                f"a sound of {seconds:.1f} s, longer than {longest:g} s; cut it, or raise model.tiling.most"
            )
        return TilePlan(columns=windows)

    def cut(self, picture: np.ndarray, plan: TilePlan) -> np.ndarray:
        """float32 `[windows, 1, 1, samples]`."""
        window = self.input_size[0]
        if (missing := plan.columns * window - picture.shape[1]) < 0:
            raise DataError(f"a sound is {-missing} samples longer than its header says; re-save or remove it")
        return np.pad(picture[0], (0, missing)).reshape(plan.columns, 1, 1, window)
