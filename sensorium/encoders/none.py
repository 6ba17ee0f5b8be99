"""No encoder: a language model that reads text alone."""

from __future__ import annotations

from typing import Self

from pydantic import Field
from torch import Tensor

from sensorium.encoders.encoder import Encoder
from sensorium.errors import LayoutError


class NoEncoder(Encoder, name="none"):
    """Refuses pictures. Put another encoder and a connector in its place to teach the model to see."""

    class Config(Encoder.Config):
        width: int = Field(ge=1, description="the width of the backbone, so that the connector 'identity' fits")

        @classmethod
        def example(cls) -> Self | None:
            return None  # it reads no picture

        @property
        def input_size(self) -> tuple[int, int]:
            return 1, 1

        @property
        def grid(self) -> tuple[int, int]:
            return 1, 1

        @property
        def dim(self) -> int:
            return self.width

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, tiles: Tensor) -> Tensor:
        if len(tiles):
            raise LayoutError(
                "encoder 'none': the model reads text alone and was given a picture; leave it out, or compose the "
                "model with another encoder"
            )
        return tiles.new_zeros(0, 1, self.config.width).float()
