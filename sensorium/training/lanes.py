"""Micro-batches side by side on a CPU, each on a core of its own.

The operators of a small model are shorter than the time that threads take to meet: shared among two cores they run
slower than on one (`docs/performance.md`). Whole micro-batches share nothing until their gradients are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sensorium.errors import TrainingError

Out = TypeVar("Out")


class Lanes:
    """Runs a function over items on the threads of a pool; results in order."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool

    def map(self, function: Callable[..., Out], *items: Sequence[Any]) -> list[Out]:
        """A `TrainingError` if random numbers were drawn: threads draw them in no order that could be repeated."""
        before = torch.get_rng_state()
        results = list(self.pool.map(function, *items))
        if not torch.equal(before, torch.get_rng_state()):
            raise TrainingError(
                "random numbers (dropout?) were drawn in lanes, which no run could repeat; set lanes to 1"
            )
        return results


@contextmanager
def one_core() -> Iterator[None]:
    """The calling thread keeps to one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def lanes(number: int) -> Iterator[Lanes]:
    """So many lanes. While they are open the calling thread, too, keeps to one core."""
    with one_core(), ThreadPoolExecutor(number, "lane", torch.set_num_threads, (1,)) as pool:
        yield Lanes(pool)


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Sequence[Tensor | None]]) -> None:
    """Add each micro-batch's gradients to the parameters' own, in the order of the micro-batches.

    They lie in memory as the parameters do. `torch.autograd.grad` does not promise that, and torch's fused optimisers
    take it for granted: they would add the gradients of convolutions to weights at other places.
    """
    for parameter, *parts in zip(parameters, *gradients, strict=True):
        for part in parts:
            if part is None:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad += part
