"""What a caption is about, from the picture alone: the tokens of the caption as labels of a classification."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from sensorium.data.batch import Batch
from sensorium.objectives.objective import Loss, Objective, precise


class CaptionTokens(Objective, name="caption-tokens"):
    """SuperClass (arXiv 2411.03313, section 3): softmax cross-entropy between a picture's pooled features and the set
    of its caption's tokens, all weighted alike. (The paper weights by inverse document frequency, which would make the
    loss of a sample depend on its batch.)

    The language model takes no part, so a step is cheap and every caption word reaches the encoder at once; the
    features land in the space of the word embeddings, because the head reads both. Word order is not learned.
    """

    needs_pictures = True
    partial = True

    def count(self, batch: Batch) -> int:
        """Samples with a picture and a supervised token."""
        return len(batch.told())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        media = model.connector(model.tile_features(batch.tiles))
        pictures = model.connector.pooled(media)
        pictures = F.rms_norm(precise(pictures), pictures.shape[-1:])
        sample, shown = batch.samples_of_tokens(), batch.told()
        owner, most = batch.samples_of_pictures()[batch.pictures.of_tiles()], int(sample.max()) + 1
        sizes = torch.bincount(owner, minlength=most)[shown]
        pooled = pictures.new_zeros(most, media.shape[-1]).index_add(0, owner, pictures)[shown]
        logits = precise(model.head(pooled / sizes[:, None]))
        present = torch.zeros(most, logits.shape[-1], device=media.device)
        present[sample[batch.supervised], batch.ids[batch.supervised]] = 1.0
        targets = present[shown] / present[shown].sum(-1, keepdim=True)
        return Loss(-(targets * logits.log_softmax(-1)).sum(), len(shown))
