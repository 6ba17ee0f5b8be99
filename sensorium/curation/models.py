"""Checkpoints that score: hashed and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.training.checkpoint import load_model, weights_digest

if TYPE_CHECKING:
    from sensorium.model import Model

__all__ = ["load_frozen", "weights_digest"]


def load_frozen(folder: Path) -> Model:
    """A checkpoint's model, for scoring alone."""
    return load_model(folder).eval().requires_grad_(False)
