"""The fusion contract: how features meet text."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from sensorium.backbones.backbone import Attention
from sensorium.config import Part, PartConfig
from sensorium.data.batch import Batch


class Fusion(nn.Module, Part, family="fusion", package="sensorium.fusion"):
    """Decides where features enter, and the attention mask the backbone gets."""

    class Config(PartConfig):
        pass

    def __init__(self, config: Config, dim: int, max_tiles: int) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        """Text `embeddings` `[rows, tokens, dim]` and `media` `[tiles, out_tokens, dim]` to the backbone's input."""

    @abstractmethod
    def attention(self, batch: Batch) -> Attention:
        """Who may attend to whom."""
