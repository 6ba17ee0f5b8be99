"""How weights begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


def unit_variance(module: nn.Module) -> None:
    """For `nn.Module.apply`: linear maps and convolutions keep the variance of what enters and embeddings have length
    1, so that queries and keys differ enough, at any width, for attention to choose from the first step on. A fixed
    deviation of 0.02 suits widths near 2,500, and torch's default for linear maps keeps a third of the variance: both
    starve narrow models."""
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    if isinstance(module, nn.Linear | nn.Conv1d) and module.bias is not None:
        nn.init.zeros_(module.bias)


INITIALISERS = (nn.init.__name__, "transformers.initialization")
"""Modules whose functions fill weights; transformers puts its own in torch's place while it makes a model."""


class Unfilled(TorchFunctionMode):
    """New weights are left as they lie in memory, for models that are filled from a file or have no memory: drawing
    them takes most of the time. Skips what `torch.nn.init` does and nothing else."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) in INITIALISERS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
