"""Pictures at the encoder's size: against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PILImage

from sensorium.data.tiling import pad_to, resized, to_tiles

NOISE = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
SMOOTH = np.asarray(PILImage.fromarray(NOISE[:8, :10]).resize((83, 61), PILImage.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(83, 61), (40, 30), (200, 90), (17, 160), (336, 336), (1, 1)])
@pytest.mark.parametrize("picture", [NOISE, SMOOTH], ids=["noise", "smooth"])
def test_resizing_is_pillows_bicubic(picture: np.ndarray, size: tuple[int, int]) -> None:
    source = PILImage.fromarray(picture)
    wanted = np.asarray(source.resize(size, PILImage.Resampling.BICUBIC)).astype(int)
    difference = np.abs(resized(source, size).astype(int) - wanted)
    assert difference.max() <= 2
    assert difference.mean() < 0.05


def test_padding_centres_the_picture_on_its_fill() -> None:
    padded = pad_to(PILImage.fromarray(NOISE), (120, 61), (1, 2, 3))
    assert (padded[:, :18] == (1, 2, 3)).all()
    assert (padded[:, 18:101] == NOISE).all()
    assert (padded[:, 101:] == (1, 2, 3)).all()


def test_tiles_are_cut_row_by_row() -> None:
    canvas = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    tiles = to_tiles(canvas, 2, 3)
    assert tiles.shape == (6, 3, 2, 2)
    assert (tiles[4] == canvas[2:4, 2:4].transpose(2, 0, 1)).all()
