"""The gradient of a loss that spans a step, with one micro-batch in memory at a time (GradCache, arXiv 2101.06983).

All micro-batches are read without gradients; the loss and its gradient are taken over what was read of them together;
then each is read again, with that gradient as its own. Random numbers (dropout) are the same in both readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.data.batch import Batch
from sensorium.objectives.objective import Read, StepObjective
from sensorium.training.lanes import Lanes, add_gradients


class Spanning:
    """Adds up the gradients of a step for a `StepObjective`. `casting` is entered wherever the model runs."""

    def __init__(
        self,
        objective: StepObjective,
        model: Any,
        parameters: Sequence[nn.Parameter],
        casting: Callable[[], AbstractContextManager],
        lanes: Lanes | None = None,
    ) -> None:
        self.objective, self.model, self.parameters, self.casting = objective, model, parameters, casting
        self.lanes = lanes

    def backward(self, batches: Sequence[Batch], by: float) -> float:
        """The loss over all `batches`, divided by `by`, is added to the gradients; returns the loss undivided."""
        count = sum(self.objective.count(batch) for batch in batches)
        if len(batches) == 1:
            with self.casting():
                total = self.objective(self.model, batches[0].to(self.model.device)).total
            (total / by).backward()
            return float(total.detach())
        looks = self.lanes.map(self._look, batches) if self.lanes else [self._look(batch) for batch in batches]
        reads = [read for read, _ in looks]
        columns = [_leaf(torch.cat(column)) for column in zip(*(read.compared for read in reads), strict=True)]
        with self.casting():
            total = self.objective.compare(self.model, tuple(columns), count)
        (total / by).backward()
        sizes = [len(read.compared[0]) for read in reads]
        slopes = list(zip(*(_slopes(column, sizes) for column in columns), strict=True))
        own = sum(float(read.own.detach()) for read in reads)
        if self.lanes:
            add_gradients(self.parameters, self.lanes.map(self._gradients, batches, slopes, [by] * len(batches)))
        else:
            for batch, slope, (_, state) in zip(batches, slopes, looks, strict=True):
                with _thrown_again(state, self.model.device):
                    outputs, grads = self._again(batch, slope, by)
                    if outputs:
                        torch.autograd.backward(outputs, grads)
        return float(total.detach()) + own

    def _read(self, batch: Batch) -> Read:
        with self.casting():
            return self.objective.read(self.model, batch.to(self.model.device))

    @torch.no_grad()
    def _look(self, batch: Batch) -> tuple[Read, _State]:
        """What is read without gradients, and the random numbers it took."""
        state = _dice(self.model.device)
        return self._read(batch), state

    def _again(
        self, batch: Batch, slopes: Sequence[Tensor | None], by: float
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """What is differentiated of a micro-batch, and the gradient that each has."""
        read = self._read(batch)
        pairs = [*zip(read.compared, slopes, strict=True), (read.own / by, torch.ones_like(read.own))]
        found = [(output, slope) for output, slope in pairs if slope is not None and output.requires_grad]
        return [output for output, _ in found], [slope for _, slope in found]

    def _gradients(self, batch: Batch, slopes: Sequence[Tensor | None], by: float) -> Sequence[Tensor | None]:
        outputs, grads = self._again(batch, slopes, by)
        if not outputs:
            return [None] * len(self.parameters)
        return torch.autograd.grad(outputs, self.parameters, grads, allow_unused=True)


def _leaf(column: Tensor) -> Tensor:
    return column.detach().requires_grad_() if column.is_floating_point() else column


def _slopes(column: Tensor, sizes: Sequence[int]) -> list[Tensor | None]:
    """The gradient of a column, a part for each micro-batch; None where there is none."""
    return [None] * len(sizes) if column.grad is None else list(column.grad.split(list(sizes)))


_State = tuple[Tensor, Tensor | None]


def _dice(device: torch.device) -> _State:
    """The state of the random numbers that a model may draw."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _thrown_again(state: _State, device: torch.device) -> Iterator[None]:
    """Within it, the same random numbers are drawn as after `state`; after it, as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
