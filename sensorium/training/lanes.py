"""Micro-batches side by side on a CPU, each on a core of its own.

The operators of a small model are shorter than the time that threads take to meet: shared among two cores they run
slower than on one (`docs/performance.md`). Whole micro-batches share nothing until their gradients are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

In = TypeVar("In")
Out = TypeVar("Out")


class Lanes:
    """Runs a function over items on so many threads, results in order. Nothing that draws random numbers may run so."""

    def __init__(self, number: int) -> None:
        self.pool = ThreadPoolExecutor(number, "lane", torch.set_num_threads, (1,))

    def map(self, function: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
        return list(self.pool.map(function, items))

    @contextmanager
    def open(self) -> Iterator[None]:
        """While open, the calling thread, too, keeps to one core; the threads end afterwards."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            self.pool.shutdown()
            torch.set_num_threads(threads)


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Sequence[Tensor | None]]) -> None:
    """Add each micro-batch's gradients to the parameters' own, in the order of the micro-batches."""
    for parameter, *parts in zip(parameters, *gradients, strict=True):
        for part in parts:
            if part is not None:
                parameter.grad = part if parameter.grad is None else parameter.grad + part
