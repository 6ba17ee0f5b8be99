"""The painter contract: the embedding of a picture to a picture (the decoder of unCLIP, arXiv 2204.06125)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig


class Painter(nn.Module, Part, family="painter", package="sensorium.painters"):
    """Built with the width of embeddings, `joint_dim`, and the `size` (width, height) of the tiles that it paints,
    which is that of those the encoder reads."""

    paints = True
    """Whether it paints at all."""

    class Config(PartConfig):
        def fits(self, size: tuple[int, int]) -> None:
            """A `ValueError` that says what to change if it cannot paint tiles of (width, height)."""

    def __init__(self, config: Any, joint_dim: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config

    def errors(self, tiles: Tensor, vectors: Tensor, dice: Sequence[torch.Generator]) -> Tensor:
        """`[n]`: how wrong it is about tiles uint8 `[n, 3, height, width]` of these embeddings `[n, joint_dim]`; what
        training makes small."""
        raise NotImplementedError

    def paint(
        self,
        vectors: Tensor,
        dice: Sequence[torch.Generator],
        guidance: float | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """Embeddings `[n, joint_dim]` of length 1 to tiles uint8 `[n, 3, height, width]`; `dice` has one for each, and
        the same dice give the same tile. What is None is as the config says."""
        raise NotImplementedError

    def shard_units(self) -> list[nn.Module]:
        """The modules that parallel training shards one by one."""
        return []

    def at_best(self, tiles: Tensor) -> Tensor:
        """What of tiles uint8 `[n, 3, height, width]` could be painted, whatever the embedding says."""
        return tiles


class NoPainter(Painter, name="none"):
    """The model draws nothing."""

    paints = False
