"""Muon: momentum whose matrices are made nearly orthogonal before they are added (Jordan et al. 2024,
kellerjordan.github.io/posts/muon), with the learning rates of AdamW (arXiv 2502.16982, eq. 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the quintic that each Newton-Schulz iteration applies to the singular values: they end between 0.7 and 1.2."""


class Muon(torch.optim.Optimizer):
    """Computes what `torch.optim.Muon` does, but for all matrices at once: small ones are several times faster so.

    The `matrices` are of one shape, or of that shape and its transpose; a kernel `[out, in, rows, columns]` of a
    convolution counts as a matrix of what enters and what leaves. `dtype` is that of the iterations.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter] | Sequence[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.dtype = dtype
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            if not matrices:
                continue
            moved = torch.stack([flat(self._with_momentum(p, group["momentum"])) for p in matrices])
            for matrix, step in zip(matrices, orthogonal(moved, self.dtype), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                place = flat(matrix.view(len(matrix), -1))  # a view, or an error: never a copy
                place.add_(step, alpha=-group["lr"] * 0.2 * math.sqrt(max(place.shape)))

    def _with_momentum(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's: the gradient, moved towards the running mean that it has just joined."""
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        mean = state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


def flat(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose if it is higher than wide."""
    matrix = matrix.reshape(len(matrix), -1)
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """`[n, rows, columns]`, rows at most columns: each with its singular values moved near 1, by five iterations."""
    a, b, c = COEFFICIENTS
    x = matrices.to(dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
