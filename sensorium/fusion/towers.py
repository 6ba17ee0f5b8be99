"""Two towers: pictures and text meet nowhere but in a space of embeddings (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from sensorium.assembly.assembly import Pieces
from sensorium.backbones.backbone import Attention
from sensorium.data.batch import Batch
from sensorium.fusion.fusion import Fusion
from sensorium.template import ChatTemplate


class Towers(Fusion, name="towers"):
    """A picture takes no place in the sequence; the backbone reads the text alone. The connector ends at the width of
    the embeddings, which the head `embedding` brings texts to."""

    class Config(Fusion.Config):
        joint_dim: int = Field(default=512, ge=1, description="width of the embeddings of pictures and texts")
        causal: bool = Field(default=True, description="text attends to what is before it, as in CLIP; SigLIP: false")

        def media_dim(self, backbone: int, encoder: int) -> int:
            return self.joint_dim

        def written(self, pieces: Pieces, template: ChatTemplate) -> Pieces:
            return []

    config: Config
    separate = True

    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        return embeddings

    def attention(self, batch: Batch) -> Attention:
        return Attention.within(batch.documents, self.config.causal)
