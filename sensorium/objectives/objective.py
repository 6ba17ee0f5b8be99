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

    reads_logits, compares = True, False
    """Whether the head must give logits over the vocabulary, and whether it must embed pictures and texts."""

    needs_parts: tuple[str, ...] = ()
    """Parts of the model that must be there, of those that may be 'none'."""

    reads_text = False
    """Whether the connector itself must read texts, as a Q-Former with a text side does."""

    @property
    def writing(self) -> Objective | None:
        """The part of it that teaches to predict the next token; None if none does."""
        return None

    @abstractmethod
    def count(self, batch: Batch) -> int:
        """How many terms the loss of this batch will have; known before the model runs, so that the trainer can divide
        by the count of a whole step."""

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Loss: ...


class Read(NamedTuple):
    """What a `StepObjective` makes of one micro-batch."""

    compared: tuple[Tensor, ...]
    """columns with a row for each of its items, to be compared with those of the whole step; those of floats carry
    gradients"""
    own: Tensor
    """the sum of what is not compared, a scalar"""


class StepObjective(Objective):
    """An objective whose loss spans all items of a step, on all ranks, so that no micro-batch has a loss of its own.

    However a step is split, its loss is the same: the trainer reads all micro-batches, compares them together, and
    takes the gradients to each micro-batch in turn (`sensorium.training.spanning`).
    """

    @abstractmethod
    def read(self, model: Any, batch: Batch) -> Read:
        """Run the model on a micro-batch."""

    @abstractmethod
    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        """The sum of the loss over the items of this rank, given the columns of all its micro-batches in order, and
        their `count`. The trainer divides it by that of all ranks."""

    def __call__(self, model: Any, batch: Batch) -> Loss:
        read, count = self.read(model, batch), self.count(batch)
        return Loss(read.own + self.compare(model, read.compared, count), count)
