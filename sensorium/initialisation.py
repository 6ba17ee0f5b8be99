"""How weights begin."""

from __future__ import annotations

from torch import nn


def unit_variance(module: nn.Module) -> None:
    """For `nn.Module.apply`: linear maps keep the variance of what enters and embeddings have length 1, so that queries
    and keys differ enough, at any width, for attention to choose from the first step on. A fixed deviation of 0.02
    suits widths near 2,500, and torch's default for linear maps keeps a third of the variance: both starve narrow
    models."""
    if isinstance(module, nn.Linear | nn.Embedding):
        width = module.in_features if isinstance(module, nn.Linear) else module.embedding_dim
        nn.init.normal_(module.weight, std=width**-0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
