"""Tensors of other projects' files, read and never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sensorium.errors import ConfigError

PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of what `torch.save` wrote, in which nothing but tensors is accepted."""
    if file.suffix not in PICKLED:
        try:
            return load_file(file)
        except SafetensorError as error:
            raise ConfigError(f"{file}: cut short or not a safetensors file ({error}); fetch it again") from None
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{file}: is cut short, or holds more than tensors, which is never run ({reason}); fetch it again, or the "
            "same weights as safetensors"
        ) from None
    if isinstance(found, dict) and isinstance(found.get("model_state_dict"), dict):
        found = found["model_state_dict"]  # a training state: open_flamingo's checkpoints
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: holds a {type(found).__name__}, expected tensors by name")
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"{file}: '{key}' is a {type(value).__name__}, expected a tensor")
    return found
