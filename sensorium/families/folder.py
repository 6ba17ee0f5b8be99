"""A published checkpoint on this machine: its settings and its tensors, read and never run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sensorium.errors import ConfigError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where `transformers` keeps tensors, in the order in which they are looked for."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt")


class Folder:
    """What a family reads. Nothing outside of it is opened, and nothing in it is unpickled but tensors."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise ConfigError(f"{path}: {what}; give the folder of a published checkpoint")
        self.path = path
        self.names = sorted(file.name for file in path.iterdir() if file.is_file())
        self.settings = self.json("config.json")
        self._read: dict[str, dict[str, Tensor]] = {}

    def json(self, name: str) -> dict[str, Any]:
        """The mapping in the file `name`; empty if there is no such file."""
        if name not in self.names:
            return {}
        try:
            found = json.loads((self.path / name).read_text())
        except ValueError as error:
            raise ConfigError(f"{self.path / name}: not JSON ({error}); fetch the file again") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{self.path / name}: holds a {type(found).__name__}, expected a mapping of keys")
        return found

    def text(self, name: str) -> str:
        """The file `name`; empty if there is none."""
        return (self.path / name).read_text() if name in self.names else ""

    def tensors(self, *files: str) -> dict[str, Tensor]:
        """All tensors, of one file or of all shards of an index. `files` are the names to look for, by default those
        of `transformers`."""
        wanted = files or WEIGHTS
        name = next((name for name in wanted if name in self.names), None)
        if name is None:
            there = ", ".join(self.names[:8]) or "nothing"
            raise ConfigError(f"{self.path}: has no weights: expected {' or '.join(wanted)}, found {there}")
        if name not in self._read:
            sharded = name.endswith(".index.json")
            self._read[name] = self._sharded(name) if sharded else read_tensors(self.path / name)
        return self._read[name]

    def _sharded(self, index: str) -> dict[str, Tensor]:
        places = self.json(index).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise ConfigError(f"{self.path / index}: has no weight_map; fetch the file again")
        found: dict[str, Tensor] = {}
        for shard in sorted(set(places.values())):
            if Path(shard).name != shard:
                raise ConfigError(f"{self.path / index}: names the shard '{shard}', which is not in this folder")
            if shard not in self.names:
                keys = [key for key, place in places.items() if place == shard]
                raise ConfigError(
                    f"{self.path}: the shard {shard} is missing, with {len(keys)} tensors, first '{keys[0]}'; fetch it"
                )
            found |= read_tensors(self.path / shard)
        if missing := sorted(set(places) - set(found)):
            raise ConfigError(
                f"{self.path / places[missing[0]]}: lacks '{missing[0]}', which {index} says it has; fetch it again"
            )
        return found


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
