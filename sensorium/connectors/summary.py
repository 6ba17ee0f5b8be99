"""A picture in a few tokens: one for the whole, then a coarse grid of averages (DeCo, arXiv 2405.20985, pools so too).

Few tokens make short samples, which is what counts where the language model is most of the work.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.connectors.connector import Connector


class Summary(Connector, name="summary"):
    """The mean of all features, then the means of `side` x `side` parts of the grid, each normalised (without learned
    scale) and projected by one linear map.

    Tokens beyond the grid (a class token) count in the mean only. The map is called `projection`, so that the edit
    `ridge-start` can fill it.
    """

    class Config(Connector.Config):
        side: int = Field(default=2, ge=0, description="the grid becomes side x side tokens; 0: none")
        whole: bool = Field(default=True, description="begin with a token for the whole picture")

        @model_validator(mode="after")
        def _some(self) -> Summary.Config:
            if not self.side and not self.whole:
                raise ValueError("side is 0 and whole is false, so no token would leave: set one of them")
            return self

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return self.whole + self.side**2

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
            return None

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.projection = nn.Linear(in_dim, out_dim)

    def forward(self, features: Tensor) -> Tensor:
        parts = [features.mean(1, keepdim=True)] if self.config.whole else []
        if self.config.side:
            parts.append(F.adaptive_avg_pool2d(self.cells(features), self.config.side).flatten(2).transpose(1, 2))
        summary = torch.cat(parts, dim=1)
        return self.projection(F.layer_norm(summary, summary.shape[-1:]))
