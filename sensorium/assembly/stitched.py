"""The cells of a picture as one map: which token stands where, and what of it is not padding."""

from __future__ import annotations

import numpy as np

from sensorium.data.tiling import TilePlan


def stitched(plan: TilePlan, grid: tuple[int, int]) -> np.ndarray:
    """int64 `[plan.rows * rows, plan.columns * columns]`: the number of each token of the map that the cells of a plan
    make together, where each has tokens on a `grid` (rows, columns); tokens are numbered cell by cell."""
    numbers = np.arange(plan.cells * grid[0] * grid[1]).reshape(plan.rows, plan.columns, *grid)
    return numbers.transpose(0, 2, 1, 3).reshape(plan.rows * grid[0], plan.columns * grid[1])


def unpadded(size: tuple[int, int], shape: tuple[int, int], digits: int = 7) -> tuple[slice, slice]:
    """The rows and columns of a map of `shape` (rows, columns) that show a picture of `size` (width, height) and not
    the padding around it, in the arithmetic of LLaVA-NeXT: the picture's share of the map is cut down to whole tokens,
    after a rounding to `digits` that takes back what floats have lost (xGen-MM has none; 17 changes nothing)."""
    (width, height), (rows, columns) = size, shape
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), digits))) // 2
        return slice(padding, rows - padding), slice(0, columns)
    padding = (columns - int(round(width * (rows / height), digits))) // 2
    return slice(0, rows), slice(padding, columns - padding)
