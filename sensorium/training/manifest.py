"""What a checkpoint was made with and from, so that one can tell later whether two were made alike."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sensorium.config import Config
from sensorium.model import ModelConfig
from sensorium.recipe import Recipe

PACKAGES = ("sensorium", "torch", "numpy", "pillow", "tokenizers", "safetensors", "transformers")


def made_with(model: ModelConfig) -> dict[str, Any]:
    """Versions, git revision, and the hash of the chat template."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    versions = {"packages": packages, "python": platform.python_version(), "revision": _revision()}
    return versions | {"template": config_digest(model.template)}


def made_from(recipe: Recipe) -> dict[str, Any]:
    """For each stage the seed of its mixture and, for each source, its share, the hash of its config and the
    fingerprint of its files, null where there are none."""
    stages = []
    for number, stage in enumerate(recipe.stages):
        sources = [
            {
                "type": share.source.type_name,
                "weight": share.weight,
                "config": config_digest(share.source),
                "files": share.source.fingerprint(),
            }
            for share in stage.data
        ]
        stages.append({"name": stage.name, "mixture_seed": recipe.mixture_seed(number), "sources": sources})
    return {"stages": stages}


def config_digest(config: Config) -> str:
    """SHA-256 of a config, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a whole file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _revision() -> str | None:
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
