"""`sensorium import`: a published checkpoint into our layout, every key accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.families.family import recognised
from sensorium.families.folder import Folder
from sensorium.families.rules import Sorted
from sensorium.model import PARTS, Model, ModelConfig
from sensorium.tokenizers.tokenizer import Tokenizer
from sensorium.training.checkpoint import part_tensors, save_model


@dataclass(frozen=True)
class Account:
    """What became of a checkpoint."""

    family: str
    loaded: dict[str, str]
    """their key to our `PART.key`, or to several with commas between them"""
    left: dict[str, str]
    """their key to why it was not loaded"""
    new: dict[str, str]
    """our `PART.key` that the checkpoint does not have, to where it comes from or why it begins untrained"""
    parameters: dict[str, int]
    """of each part"""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("family", "loaded", "left", "new", "parameters")}


def import_folder(path: Path, out: Path, tokenizer: str = "", changes: tuple[str, ...] = ()) -> Account:
    """Read a published checkpoint and write it as a model of ours. `tokenizer` is a folder with a tokenizer.json, if
    the checkpoint's has none; `changes` are `key=value` of the model's config."""
    model, account = read_published(path, tokenizer, changes)
    save_model(model, out, {"imported": {"family": account.family, "from": path.name}})
    return account


def read_published(path: Path, tokenizer: str = "", changes: tuple[str, ...] = ()) -> tuple[Model, Account]:
    """The model of a published folder, in evaluation mode, and the account of its keys. A `ConfigError` names the file,
    the key and the shapes of what does not fit."""
    folder = Folder(path)
    name, family = recognised(folder)
    data = family.config(folder)
    if tokenizer:
        data["tokenizer"] = {**data["tokenizer"], "path": tokenizer}
    config = ModelConfig.changed(data, *changes, where=f"the config made of {path}").resolved()
    table = family.table(config, folder)
    sorted_out = table.sort(folder.tensors(*family.files), str(path))
    model = Model(config, _tokenizer(config, folder))
    new = fill(model, sorted_out, _read_elsewhere(model) | family.new(config, folder), str(path))
    counts = {part: sum(t.numel() for t in part_tensors(model, part).values()) for part in PARTS}
    return model.eval(), Account(name, sorted_out.loaded, sorted_out.left, new, counts)


def _read_elsewhere(model: Model) -> dict[str, str]:
    """Read the parts whose config names a folder of weights, as a frozen tower that was published apart."""
    reasons = {}
    for name in PARTS:
        if path := getattr(part := getattr(model.config, name), "path", ""):
            part.load_pretrained(getattr(model, name))
            reasons[f"{name}."] = f"read from {path}"
    return reasons


def _tokenizer(config: ModelConfig, folder: Folder) -> Tokenizer:
    wanted = getattr(config.tokenizer, "path", "")
    if wanted == str(folder.path) and "tokenizer.json" not in folder.names:
        raise ConfigError(
            f"{folder.path}: has no tokenizer.json; give a folder that has the same tokenizer's with --tokenizer "
            "(transformers writes it: AutoTokenizer.from_pretrained(...).save_pretrained(...))"
        )
    return config.make_tokenizer()


@torch.no_grad()
def fill(model: Model, given: Sorted, may_lack: dict[str, str], where: str) -> dict[str, str]:
    """Copy tensors by our names into the model. Returns what it has beyond them, and why that is so; a tensor without
    place, a place without tensor or another shape is a `ConfigError`."""
    wanted = {f"{part}.{key}": t for part in PARTS for key, t in part_tensors(model, part).items()}
    theirs = {ours: key for key, names in given.loaded.items() for ours in names.split(", ")}
    shared = _shared(model)
    filled: set[str] = set()
    for name, value in given.tensors.items():
        if (place := name if name in wanted else shared.get(name, "")) not in wanted:
            raise ConfigError(f"{where}: '{theirs[name]}' would be our '{name}', which this model has not")
        target = wanted[place]
        if value.shape != target.shape:
            found, need = list(value.shape), list(target.shape)
            raise ConfigError(f"{where}: '{theirs[name]}' has shape {found}; its config says {need} (our '{place}')")
        if place in filled and not torch.equal(target, value.to(target.dtype)):
            raise ConfigError(f"{where}: '{theirs[name]}' differs from the tensor that its config ties it to")
        target.copy_(value)
        filled.add(place)
    return _begun(set(wanted) - filled, may_lack, where)


def _begun(missing: set[str], may_lack: dict[str, str], where: str) -> dict[str, str]:
    reasons = {n: next((why for start, why in may_lack.items() if n.startswith(start)), "") for n in sorted(missing)}
    if lost := [name for name, why in reasons.items() if not why]:
        raise ConfigError(f"{where}: lacks {len(lost)} tensors that its config asks for, first our '{lost[0]}'")
    return reasons


def _shared(model: Model) -> dict[str, str]:
    """The further names of tensors that a part has under several, and the one that they are kept under."""
    first: dict[int, str] = {}
    shared: dict[str, str] = {}
    for part in PARTS:
        tensors: dict[str, Tensor] = dict(getattr(model, part).named_parameters(remove_duplicate=False))
        for key, tensor in tensors.items():
            name = f"{part}.{key}"
            if (kept := first.setdefault(id(tensor), name)) != name:
                shared[name] = kept
    return shared
