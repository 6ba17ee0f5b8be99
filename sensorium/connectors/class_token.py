"""A picture in one token: the encoder's class token, projected (CLIP, arXiv 2103.00020, section 2.4)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, OneToken


class ClassToken(Connector, name="class-token"):
    """One linear map of the first token, which an encoder with a class token gives before its grid."""

    class Config(OneToken):
        extra_tokens: ClassVar[int] = 1

        bias: bool = Field(default=False, description="CLIP has none")

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.projection = nn.Linear(in_dim, out_dim, bias=config.bias)
        nn.init.normal_(self.projection.weight, std=in_dim**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        return self.projection(features[:, :1])
