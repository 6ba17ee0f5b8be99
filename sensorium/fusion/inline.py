"""Features stand in the sequence where the picture stands in the text (LLaVA, arXiv 2304.08485)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.backbones.backbone import Attention
from sensorium.data.batch import Batch
from sensorium.errors import LayoutError
from sensorium.fusion.fusion import Fusion


class Inline(Fusion, name="inline"):
    """Placeholders are replaced by features, in order. Where pictures are tiled, a learned code that starts at zero
    tells the tiles' places apart (as InfiMM-HD does, arXiv 2403.01487, section 3.2)."""

    def __init__(self, config: Inline.Config, dim: int, max_tiles: int) -> None:
        super().__init__(config, dim, max_tiles)
        self.tile_positions = nn.Embedding(max_tiles, dim) if max_tiles > 1 else None
        if self.tile_positions is not None:
            nn.init.zeros_(self.tile_positions.weight)

    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        places = int(batch.media.sum())
        if places != media.shape[0] * media.shape[1]:
            raise LayoutError(
                f"{places} placeholders but {media.shape[0]} x {media.shape[1]} features in {batch.names()}: "
                "the layout and the connector disagree on tokens per tile"
            )
        if self.tile_positions is not None:
            media = media + self.tile_positions(batch.tile_positions)[:, None]
        return torch.masked_scatter(embeddings, batch.media[..., None], media.to(embeddings.dtype))

    def attention(self, batch: Batch) -> Attention:
        return Attention.within(batch.documents)
