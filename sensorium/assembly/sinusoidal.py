"""Tile after tile, each told where it lies in the picture (InfiMM-HD, arXiv 2403.01487, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.assembly.assembly import Assembly, Connect, TileTokens
from sensorium.data.batch import Pictures
from sensorium.data.tiling import TilePlan
from sensorium.errors import ConfigError


class Sinusoidal(Assembly, name="sinusoidal"):
    """The tokens of the tiles one after another, as with `tiles`; a fixed code of a tile's row and column is added to
    all of its tokens, so that pictures may have more tiles than any in training. A tile that shows the whole picture,
    thumbnail or not, has no code: the paper does not say what code its thumbnail has."""

    def __init__(self, config: Assembly.Config, dim: int, max_tiles: int, grid: tuple[int, int], tile: TileTokens):
        super().__init__(config, dim, max_tiles, grid, tile)
        if dim % 4:
            raise ConfigError(f"assembly 'sinusoidal': features have width {dim}, which is no multiple of 4")

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        media = connect(features)
        codes = [tile_codes(cut.plan, self.dim) for cut in pictures.cuts]
        if any(cut.plan.tiles > 1 for cut in pictures.cuts):
            media = media + torch.cat(codes)[:, None].to(media)
        return torch.flatten(media, 0, 1)


def tile_codes(plan: TilePlan, dim: int) -> Tensor:
    """`[tiles, dim]`: a code for each tile of a picture; zeros for one that shows the whole of it."""
    if plan.tiles == 1:
        return torch.zeros(1, dim)
    rows = torch.arange(plan.rows).repeat_interleave(plan.columns)
    columns = torch.arange(plan.columns).repeat(plan.rows)
    codes = torch.cat([_code(rows, dim // 2), _code(columns, dim // 2)], dim=1)
    return torch.cat([torch.zeros(int(plan.thumbnail), dim), codes])


def _code(places: Tensor, dim: int) -> Tensor:
    """`[n, dim]`: sines in the even and cosines in the odd channels (Wang & Liu, arXiv 1908.11415, section 3.1)."""
    frequencies = 10_000 ** (-torch.arange(0, dim, 2) / dim)
    angles = places[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
