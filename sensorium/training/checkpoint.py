"""Checkpoints are folders: `config.json`, one safetensors file a part, tokenizer, manifest. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.atomic import write_folder
from sensorium.errors import CheckpointError
from sensorium.initialisation import Unfilled
from sensorium.model import PARTS, Model, ModelConfig
from sensorium.training.manifest import file_digest, made_with
from sensorium.training.optimisation import Together

CONFIG, MANIFEST, OPTIMISER, STATE = "config.json", "manifest.json", "optimiser.safetensors", "state.json"
AGAIN = "; use an earlier checkpoint (a run goes on from the newest: remove this folder, and resume)"


def save_model(
    model: Model, folder: Path, made_from: dict[str, Any] | None = None, extra: Callable[[Path], None] | None = None
) -> None:
    """The model's folder, there whole or not at all. `made_from` goes into the manifest; `extra` may add files."""

    def fill(partial: Path) -> None:
        (partial / CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2, ensure_ascii=False))
        model.tokenizer.save(partial)
        for name in PARTS:
            save_file(part_tensors(model, name), partial / f"{name}.safetensors")
        if extra:
            extra(partial)
        files = {file.name: file_digest(file) for file in sorted(partial.iterdir())}
        manifest = made_with(model.config) | (made_from or {}) | {"files": files}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2))

    write_folder(folder, fill)


def part_tensors(model: Model, name: str) -> dict[str, Tensor]:
    """The tensors of one part. What it shares with a part that comes before it in the folder is stored there."""
    shared = set()
    if name == "head":
        shared = {id(p) for p in model.backbone.parameters()}
    part: nn.Module = getattr(model, name)
    kept = part.state_dict()
    tensors = dict(part.named_parameters()) | {k: v for k, v in part.named_buffers() if k in kept}
    return {key: t.detach().contiguous() for key, t in tensors.items() if id(t) not in shared}


def load_model(folder: Path) -> Model:
    """Rebuild a model from its folder alone; a `CheckpointError` names the file that is missing or damaged."""
    folder = find_model(folder)
    verify(folder)
    config = ModelConfig.from_dict(json.loads((folder / CONFIG).read_text()), where=str(folder / CONFIG))
    with Unfilled():
        model = Model(config, config.tokenizer.part.read(config.tokenizer, folder))
    for name in PARTS:
        if part_tensors(model, name) or (folder / f"{name}.safetensors").is_file():  # a part of none may have no file
            load_part(model, name, folder)
    return model.eval()


def take_part(model: Model, name: str, folder: Path) -> None:
    """Give a part the weights that it has in another model; a `CheckpointError` unless its config is the same there,
    and for a part that knows tokens the tokenizer, too."""
    folder = find_model(folder)
    verify(folder)
    config = ModelConfig.from_dict(json.loads((folder / CONFIG).read_text()), where=str(folder / CONFIG))
    fix = "as in its config.json, or start with another model"
    if getattr(config, name) != getattr(model.config, name):
        raise CheckpointError(f"{folder}: has another {name} than the recipe's; set model.{name} {fix}")
    theirs = config.tokenizer.part.read(config.tokenizer, folder)
    if name in ("backbone", "head") and theirs.rust.to_str() != model.tokenizer.rust.to_str():
        raise CheckpointError(f"{folder}: its {name} knows other tokens than the recipe's; set model.tokenizer {fix}")
    load_part(model, name, folder)


def load_part(model: Model, name: str, folder: Path) -> None:
    """Load one part's weights; every tensor must be there and none may be left over."""
    file = folder / f"{name}.safetensors"
    tensors = read_tensors(file)
    wanted = part_tensors(model, name)
    if missing := sorted(set(wanted) - set(tensors)):
        raise CheckpointError(
            f"{file}: lacks {len(missing)} tensors, first {missing[0]!r}; it belongs to another {name}"
        )
    if surplus := sorted(set(tensors) - set(wanted)):
        raise CheckpointError(
            f"{file}: holds {len(surplus)} unknown tensors, first {surplus[0]!r}; it is of another {name}"
        )
    with torch.no_grad():
        for key, target in wanted.items():
            if target.shape != tensors[key].shape:
                found, need = list(tensors[key].shape), list(target.shape)
                raise CheckpointError(f"{file}: {key} has shape {found}, the config needs {need}")
            target.copy_(tensors[key])


def read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file.parent}: no {file.name}; the checkpoint is not whole{AGAIN}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{file}: cut short or damaged ({error}){AGAIN}") from None


def find_model(folder: Path) -> Path:
    """The model in a folder: the folder itself, a finished run's `model`, or a running one's newest checkpoint."""
    folder = Path(folder)
    for candidate in (folder, folder / "model", newest_checkpoint(folder)):
        if candidate is not None and any((candidate / name).is_file() for name in (CONFIG, MANIFEST)):
            return candidate
    found = "it does not exist" if not folder.exists() else "it has no config.json, no model/ and no checkpoints/"
    raise CheckpointError(f"{folder}: not a model: {found}; give a folder that `sensorium train` wrote")


def stage_folder(run: Path, stage: str) -> Path:
    """Where a run keeps the last model of a stage that a later one reads."""
    return run / "stages" / stage


def weights_digest(folder: Path) -> str:
    """A hash of all files of a checkpoint, from its manifest; a `CheckpointError` if it is none."""
    files = json.loads((find_model(folder) / MANIFEST).read_text())["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def newest_checkpoint(run: Path) -> Path | None:
    steps = sorted((run / "checkpoints").glob("step-*"), key=lambda path: int(path.name.split("-")[1]))
    return steps[-1] if steps else None


def verify(folder: Path) -> None:
    """Compare sizes and digests with the manifest; a file cut short or changed is an error that names it."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (FileNotFoundError, ValueError, KeyError):
        raise CheckpointError(
            f"{folder / MANIFEST}: missing or unreadable, so the folder is not whole{AGAIN}"
        ) from None
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: no {name}; the checkpoint is not whole{AGAIN}")
        if file_digest(folder / name) != digest:
            raise CheckpointError(f"{folder / name}: cut short or changed since it was written{AGAIN}")


def optimiser_tensors(optimiser: Together) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors, `<member>.<parameter number>.<name>`."""
    return {
        f"{place}.{number}.{key}": value.contiguous()
        for place, member in enumerate(optimiser.members)
        for number, entry in member.state_dict()["state"].items()
        for key, value in entry.items()
    }


def restore_optimiser(optimiser: Together, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` took out; groups and learning rates come from the recipe."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimiser.members]
    for key, value in tensors.items():
        place, number, name = key.split(".", 2)
        states[int(place)].setdefault(int(number), {})[name] = value
    for member, state in zip(optimiser.members, states, strict=True):
        member.load_state_dict({"state": state, "param_groups": member.state_dict()["param_groups"]})
