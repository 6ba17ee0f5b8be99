"""The policy contract: how the weights of a stage's sources follow what the model has learned."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from sensorium.config import Part, PartConfig
from sensorium.data.source import Source


class Policy(Part, family="policy", package="sensorium.policies"):
    """Every so many steps the losses on `targets` are measured, and the sources weighed anew. It depends on the losses
    of all rounds and on nothing else, so that a resumed run weighs as an uninterrupted one."""

    class Config(PartConfig):
        every: int = Field(default=200, ge=1, description="steps between two weighings")
        rows: int = Field(default=4, ge=1, description="rows of each target that its loss is measured on")
        targets: tuple[Source.Config, ...] = Field(
            default=(), description="held-out sources, one for each ability; never those that are trained on"
        )

        def check(self, sources: int) -> None:
            """A `ValueError` if it cannot weigh so many sources."""

    def __init__(self, config: Any) -> None:
        self.config: Any = config

    @abstractmethod
    def weights(self, prior: Sequence[float], losses: Sequence[Sequence[float]]) -> list[float]:
        """Weights of the sources, positive, of any sum. `prior` are the recipe's; `losses` has a row for each round so
        far, the mean loss of every target; before the first step there is none."""
