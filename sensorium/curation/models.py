"""Checkpoints that score: found, hashed and loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.training.checkpoint import MANIFEST, find_model, load_model

if TYPE_CHECKING:
    from sensorium.model import Model


def weights_digest(folder: Path) -> str:
    """A hash of all files of a checkpoint, from its manifest; a `CheckpointError` if it is none."""
    files = json.loads((find_model(folder) / MANIFEST).read_text())["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def load_frozen(folder: Path) -> Model:
    """A checkpoint's model, for scoring alone."""
    return load_model(folder).eval().requires_grad_(False)
