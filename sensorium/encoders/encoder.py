"""The encoder contract: one modality to features `[n, tokens, dim]`."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig
from sensorium.data.batch import Pictures


class Encoder(nn.Module, Part, family="encoder", package="sensorium.encoders"):
    """Tiles of a picture, or windows of a sound, to features. What the layout needs (input size, grid, width) is on the
    config and costs no weights; a forward over an empty batch is legal and returns an empty batch, so that ranks
    without media do not hang."""

    modality = "image"

    class Config(PartConfig):
        @property
        def rate(self) -> int | None:
            """Samples a second of the sounds that the encoder hears; None if it sees."""
            return None

        @property
        def input_size(self) -> tuple[int, int]:
            """(width, height) in pixels of the tile the encoder reads; of a window of sound (samples, 1)."""
            raise TypeError(f"{type(self).__qualname__} must define input_size")

        @property
        def grid(self) -> tuple[int, int]:
            """(rows, columns) of the feature map; tokens beyond rows x columns (a class token) come first."""
            raise TypeError(f"{type(self).__qualname__} must define grid")

        @property
        def tokens(self) -> int:
            """Features per tile."""
            return self.grid[0] * self.grid[1]

        @property
        def dim(self) -> int:
            """Width of a feature."""
            raise TypeError(f"{type(self).__qualname__} must define dim")

        def needs_no_neighbours(self) -> None:
            """A `ValueError` if tiles of this encoder see each other, so that a tile has no features of its own, or if
            it reads no pictures."""
            if self.rate is not None:
                raise ValueError(f"encoder '{self.type_name}' hears sounds; choose one that reads pictures")
            if self.part.features is not Encoder.features:
                raise ValueError(
                    f"tiles of the encoder '{self.type_name}' see each other; none has features of its own"
                )

    @abstractmethod
    def forward(self, tiles: Tensor) -> Tensor:
        """`tiles` uint8 `[n, 3, height, width]` to features `[n, tokens, dim]`. Floats of the same range, which an
        encoder that resizes may hand on to another, mean the same. Windows are float32 `[n, 1, 1, samples]`."""

    def features(self, tiles: Tensor, pictures: Pictures) -> Tensor:
        """The features of all tiles of some pictures, in order. By default each tile is encoded by itself; an encoder
        whose tiles see each other (native resolution: tiles of one patch) says here how."""
        return self(tiles)

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of an encoder of another config, the input's size say, as this one needs them."""
        return state

    def carried_below(self, start: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """`state` of an encoder that this one is part of, with what begins with `start` carried over."""
        own = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
        others = {key: value for key, value in state.items() if not key.startswith(start)}
        return others | {start + key: value for key, value in self.carried(own).items()} if own else state

    def shard_units(self) -> list[nn.Module]:
        """The modules that parallel training shards one by one."""
        return [self]


def rounded_up(tiles: Tensor, multiple: int = 4) -> Tensor:
    """Blank tiles appended up to a multiple. CPU kernels are compiled for each batch size they meet, which for bf16
    convolutions costs ten times the convolution; packed steps would show them a new size every time."""
    missing = -len(tiles) % multiple
    return torch.cat([tiles, tiles.new_zeros(missing, *tiles.shape[1:])]) if missing else tiles


class Normalise(nn.Module):
    """uint8 pixels to floats: `(x / 255 - mean) / std` for each of the three channels."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (tiles.to(mean.dtype) - mean) / std
