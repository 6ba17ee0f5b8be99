"""The objective contract: what is optimised, as sums and counts that the trainer divides once, globally."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig
from sensorium.data.batch import Batch


class Loss(NamedTuple):
    """A sum and the number of terms in it; never a mean, so that splitting a batch changes nothing."""

    total: Tensor
    count: int


def precise(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is: what losses are computed in, whatever the model runs in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Objective(Part, family="objective", package="sensorium.objectives"):
    """Runs the model on a batch and returns a `Loss`."""

    class Config(PartConfig):
        pass

    def __init__(self, config: Config) -> None:
        self.config: Any = config

    needs_pictures = False
    """Whether a sample without pictures teaches nothing; a blind twin passes over stages with such an objective."""

    partial = False
    """Whether the loss passes over weights of parts that it trains, which must then be reached in another stage."""

    @abstractmethod
    def count(self, batch: Batch) -> int:
        """How many terms the loss of this batch will have; known before the model runs, so that the trainer can divide
        by the count of a whole step."""

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Loss: ...
