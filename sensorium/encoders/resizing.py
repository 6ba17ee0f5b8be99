"""Pictures and feature maps at other sizes, for encoders that stand around other encoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(tiles: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 `[n, 3, height, width]` at `size` (width, height): bicubic and antialiased. On a CPU these are, to the bit,
    the pixels of `sensorium.data.tiling.resized`; on a GPU, whose kernel wants floats, they differ by rounding. Floats
    stay floats and are not rounded."""
    width, height = size
    if tiles.shape[-2:] == (height, width):
        return tiles
    levels = tiles.dtype == torch.uint8
    given = tiles.float() if levels and tiles.device.type != "cpu" else tiles
    made = F.interpolate(given, size=(height, width), mode="bicubic", antialias=True)
    return made.round().clamp(0, 255).to(torch.uint8) if levels and made.dtype != torch.uint8 else made


def grid_map(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """`[n, tokens, dim]` to `[n, dim, rows, columns]`; tokens before the grid (a class token) are left out."""
    return features[:, features.shape[1] - grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


def on_grid(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map `[n, dim, rows, columns]` on another grid: averaged over areas along sides that shrink, bilinear along
    those that grow."""
    rows, columns = cells.shape[-2:]
    least = min(rows, grid[0]), min(columns, grid[1])
    if least != (rows, columns):
        cells = F.adaptive_avg_pool2d(cells, least)
    return cells if least == grid else F.interpolate(cells, size=grid, mode="bilinear", align_corners=False)
