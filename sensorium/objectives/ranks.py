"""What ranks tell each other while a loss is computed, with gradients that find their way back.

The loss of the step is the sum of what the ranks return, so gradients that come from several ranks are added. Without
`torch.distributed` there is one rank, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> tuple[int, int]:
    """(this rank's number, how many there are)"""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def summed(number: int, device: torch.device) -> int:
    """The sum of a number over all ranks."""
    if ranks()[1] == 1:
        return number
    total = torch.tensor([number], device=device)
    dist.all_reduce(total)
    return int(total)


def row_counts(x: Tensor) -> list[int]:
    """How many rows of `x` each rank has."""
    if ranks()[1] == 1:
        return [len(x)]
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(ranks()[1])]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    return [int(count) for count in counts]


def gathered(x: Tensor, counts: list[int]) -> Tensor:
    """`[n, ...]` of this rank to the rows of all ranks, in their order; `counts` as `row_counts` says."""
    return x if len(counts) == 1 else _Gather.apply(x, counts)  # type: ignore[return-value]


def passing(x: Tensor, counts: list[int]) -> Iterator[Tensor]:
    """The rows of the other ranks, one rank after the other, passed on round a ring: none ever holds them all."""
    rank, number = ranks()
    for hop in range(1, number):
        x = _Pass.apply(x, counts[(rank - hop) % number])  # type: ignore[assignment]
        yield x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: dist.get_rank()])
        return total[start : start + ctx.counts[dist.get_rank()]], None


class _Pass(torch.autograd.Function):
    """To the next rank, from the one before; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        ctx.rows = len(x)
        return _exchange(x, rows, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _exchange(grads[0], ctx.rows, -1), None


def _exchange(x: Tensor, rows: int, step: int) -> Tensor:
    """Send `x` `step` ranks on, and receive so many rows from as far back. Nothing is sent if there are none."""
    rank, number = ranks()
    received, sent = x.new_empty(rows, *x.shape[1:]), x.contiguous()
    operations = [dist.P2POp(dist.isend, sent, (rank + step) % number)] if len(sent) else []
    operations += [dist.P2POp(dist.irecv, received, (rank - step) % number)] if rows else []
    for request in dist.batch_isend_irecv(operations) if operations else []:
        request.wait()
    return received
