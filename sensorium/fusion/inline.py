"""Features stand in the sequence where the picture stands in the text (LLaVA, arXiv 2304.08485)."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.errors import LayoutError
from sensorium.fusion.fusion import Fusion


class Inline(Fusion, name="inline"):
    """Placeholders are replaced by features, in order."""

    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        if (places := int(batch.media.sum())) != len(media):
            raise LayoutError(
                f"{places} placeholders but {len(media)} features in {batch.names()}: the layout and the model's parts "
                "disagree on what a picture is worth"
            )
        return torch.masked_scatter(embeddings, batch.media[..., None], media.to(embeddings.dtype))
