"""Weights of other projects into our modules, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sensorium.errors import ConfigError


def fill(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load tensors that have our names already. A `ConfigError` names what is missing, left over or of another shape;
    `what` is what the module is called in it."""
    targets = module.state_dict()
    if missing := sorted(set(targets) - set(tensors)):
        raise ConfigError(f"the weights lack {len(missing)} tensors of {what}, first '{missing[0]}'; check its config")
    if surplus := sorted(set(tensors) - set(targets)):
        raise ConfigError(f"{what} has no place for {len(surplus)} tensors, first '{surplus[0]}'; check its config")
    for key, target in targets.items():
        if target.shape != tensors[key].shape:
            raise ConfigError(f"'{key}' has shape {list(tensors[key].shape)}, {what} needs {list(target.shape)}")
    module.load_state_dict(dict(tensors))
