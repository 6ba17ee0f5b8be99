"""Backgrounds: two muted colours mixed by a pattern that is drawn once per resolution and kept."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
from PIL import Image

from sensorium.data.worlds.scene import Background

_KEPT = 1 << 20


def backdrop(background: Background, size: tuple[int, int]) -> Image.Image:
    """A new RGB picture of (width, height) that shows the background alone."""
    first, second = background.colours
    image = Image.new("RGB", size, first)
    if background.kind != "plain":
        # Patterns of large pictures would fill the memory, and drawing one is no longer what takes the time.
        draw = _pattern if size[0] * size[1] <= _KEPT else _pattern.__wrapped__
        image.paste(second, (0, 0), draw(background.kind, background.variant, size))
    return image


@lru_cache(maxsize=128)
def _pattern(kind: str, variant: int, size: tuple[int, int]) -> Image.Image:
    """How much of the second colour shows at every pixel ("L"); `variant` is 0 to 7."""
    width, height = size
    if kind == "noise":
        side = 8 + 2 * variant
        coarse = Image.frombytes("L", (side, side), random.Random(variant).randbytes(side * side))
        return coarse.resize(size, Image.Resampling.BICUBIC)
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x + 0.5) / width, (y + 0.5) / height
    angle = variant * np.pi / 4
    along = (u - 0.5) * np.cos(angle) + (v - 0.5) * np.sin(angle)
    if kind == "gradient":
        level = along / np.ptp(along) + 0.5 if np.ptp(along) else along + 0.5
    elif kind == "checker":
        cells = 4 + variant
        level = (np.floor(u * cells) + np.floor(v * cells)) % 2
    elif kind == "bands":
        level = np.floor(along * (5 + variant)) % 2
    elif kind == "rings":
        level = 0.5 + 0.5 * np.sin((18 + 3 * variant) * np.hypot(u - 0.5, v - 0.5))
    else:
        raise ValueError(f"unknown background '{kind}'")
    return Image.fromarray(np.clip(np.rint(255 * level), 0, 255).astype(np.uint8))
