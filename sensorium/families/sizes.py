"""What a checkpoint's tensors tell of its architecture, where its settings do not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sensorium.errors import ConfigError


def shape_of(tensors: Mapping[str, Tensor], key: str, where: str) -> tuple[int, ...]:
    """The shape of a tensor by which others are counted; a `ConfigError` names it if it is missing."""
    if key not in tensors:
        raise ConfigError(f"{where}: lacks '{key}', whose shape tells the size of the part; fetch the weights again")
    return tuple(tensors[key].shape)


def count_of(tensors: Mapping[str, Tensor], start: str) -> int:
    """How many numbers follow `start` in the keys: the layers of a stack."""
    return len({key.removeprefix(start).split(".")[0] for key in tensors if key.startswith(start)})


def whole(total: int, unit: int, key: str, where: str) -> int:
    """`total / unit`, heads of a known width say; a `ConfigError` names the tensor if that is no whole number."""
    if total % unit:
        raise ConfigError(f"{where}: '{key}' is {total} wide, expected a multiple of {unit}")
    return total // unit
