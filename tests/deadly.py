"""A source of which some samples end the worker that reads them. It needs no torch, so that workers begin fast."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from dataclasses import dataclass
from typing import Any

from PIL import Image as PILImage

from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample, caption


def die(what: str) -> Any:
    """What a fault in a decoder does to a worker; in the process of the tests it is a refusal."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGSEGV)
    raise DataError(f"{what}: deadly")


@dataclass(frozen=True)
class Fatal:
    """A picture that ends the process that decodes it."""

    size: tuple[int, int] = (16, 16)

    def open(self) -> PILImage.Image:
        return die("picture")


class Deadly(Source, name="deadly"):
    """Captions of lengths that differ; some samples kill when they are read, some when their picture is decoded."""

    class Config(Source.Config):
        reading: tuple[int, ...] = ()
        decoding: tuple[int, ...] = ()
        building: bool = False
        greedy: int | None = None
        """takes more memory than there is"""
        faulty: int | None = None
        """its code is wrong"""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.building:
            die("source")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Sample:
        if index in self.config.reading:
            die(f"deadly/{index}")
        if index == self.config.greedy:
            raise MemoryError
        if index == self.config.faulty:
            raise KeyError("a mistake")
        buffer = io.BytesIO()
        PILImage.new("RGB", (16, 16), (index, 0, 0)).save(buffer, "png")
        picture = Fatal() if index in self.config.decoding else buffer.getvalue()
        return caption(picture, f"picture {index}{' of many' * (index % 3)}", id=str(index), source="deadly")
