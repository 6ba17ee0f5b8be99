"""The edit contract: a typed rewrite of a model before a stage begins."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from sensorium.config import Part, PartConfig
from sensorium.data.batch import Batch
from sensorium.model import Model

Stages = Callable[[str], Model]
"""Gives the last model of an earlier stage, by its name."""


class Edit(Part, family="edit", package="sensorium.edits"):
    """Runs once, before the first step of its stage, and says in its docstring what it keeps equal."""

    class Config(PartConfig):
        def needs(self) -> tuple[str, ...]:
            """The names of earlier stages whose last models it reads."""
            return ()

    reads_data: ClassVar[bool] = False
    """Whether it needs the stage's batches."""

    def __init__(self, config: Any) -> None:
        self.config: Any = config

    @abstractmethod
    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        """Rewrite `model` in place; `batches` are the stage's own, endless, and cost the stage none of its data."""
