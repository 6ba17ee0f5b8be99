"""The assembly contract: the features of a picture's tiles to the features of the picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sensorium.config import Part, PartConfig
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut

Pieces = Sequence[str | int]
"""What a picture is in a sequence, in order: so many features, or marks that the tokenizer writes between them."""

Connect = Callable[..., Tensor]
"""The model's connector, `(features [n, tokens, in_dim], mask=None) -> [n, out_tokens, dim]`; `mask` bool
`[n, tokens]` is true for features that may be seen, and only connectors that take one are given one. For connectors
that read instructions, item `i` belongs to the picture of tile `i`."""


@dataclass(frozen=True)
class TileTokens:
    """What the connector makes of a tile: so many `tokens`, on a `grid` (rows, columns) where they have places."""

    tokens: int
    grid: tuple[int, int] | None = None


class Assembly(nn.Module, Part, family="assembly", package="sensorium.assembly"):
    """Where any resolution is put together: it calls the connector, before or after it joins tiles, cuts padding away
    or marks rows. `grid` is that of the encoder's features, `tile` what the connector makes of what it is given."""

    class Config(PartConfig):
        masks: ClassVar[bool] = False
        """whether it gives the connector a mask"""

        def entering(self, tokens: int, grid: tuple[int, int]) -> tuple[int, tuple[int, int]]:
            """What the connector is given at once, as tokens and their grid, where a tile has `tokens` on a map of
            `grid` (rows, columns); by default a tile."""
            return tokens, grid

        def pieces(self, cut: Cut, tile: TileTokens) -> Pieces:
            """What a picture is worth; by default all tokens of all its tiles."""
            return [cut.plan.tiles * tile.tokens]

    def __init__(self, config: Config, dim: int, max_tiles: int, grid: tuple[int, int], tile: TileTokens) -> None:
        super().__init__()
        self.config, self.dim, self.grid, self.tile = config, dim, grid, tile

    @abstractmethod
    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        """`features` `[tiles, tokens, in_dim]` of all `pictures` to `[n, dim]`: as many for each picture as its pieces
        announce, in order. It calls `connect` even if there are no tiles, so that its gradients are zero, not none."""
