"""A judge of drawings that knows FactorWorld and no model: what colour and what shape stands before the background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sensorium.data.worlds.render import RGB, silhouette

APART = 45.0
"""How far a pixel is from the background's colour at least, of 255 a channel, to be of an object."""
LEAST = 12
"""Pixels that an object has at least, of 64 x 64."""
TINTS = (0.85, 0.925, 1.0)


class Look(NamedTuple):
    """The one object in a picture."""

    colour: str
    shape: str


def look(tile: np.ndarray, colours: Sequence[str], shapes: Sequence[str]) -> Look | None:
    """What is in a tile uint8 `[3, height, width]` of one object on a plain background, as far as `colours` and
    `shapes` go; None if nothing stands out.

    The background is the median colour; what is far from it is the object, whose edge is where half of its contrast is,
    so that soft edges make it no larger. Its colour is the nearest to the mean of its
    more distinct half, over the tints that FactorWorld gives; its shape the one whose silhouette, scaled to the
    object's box, overlaps it best (intersection over union).
    """
    pixels = tile.astype(np.float64).transpose(1, 2, 0)
    away = np.linalg.norm(pixels - np.median(pixels.reshape(-1, 3), axis=0), axis=-1)
    solid = away > APART
    if solid.sum() < LEAST * solid.size / 64**2:
        return None
    solid = away > max(APART, np.quantile(away[solid], 0.9) / 2)
    mean = pixels[solid & (away >= np.median(away[solid]))].mean(0)
    distance = {name: min(float(np.linalg.norm(mean - np.array(RGB[name]) * t)) for t in TINTS) for name in colours}
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    overlap = {name: _overlap(box, outline(name, *box.shape)) for name in shapes}
    return Look(min(distance, key=distance.__getitem__), max(overlap, key=overlap.__getitem__))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@lru_cache(maxsize=4096)
def outline(shape: str, rows: int, columns: int) -> np.ndarray:
    """bool `[rows, columns]`: a shape that fills the box."""
    drawn = silhouette(shape, 64).point([255 * (level >= 128) for level in range(256)])
    return np.asarray(drawn.crop(drawn.getbbox()).resize((columns, rows))) >= 128
