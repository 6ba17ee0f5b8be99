"""To tell a picture's embedding from a text: what a prior learns (unCLIP, arXiv 2204.06125, section 2.2)."""

from __future__ import annotations

from typing import Any

import torch

from sensorium.data.batch import Batch
from sensorium.diffusion import dice_of
from sensorium.objectives.objective import Loss, Objective, precise
from sensorium.priors.prior import Wording


class EmbeddingPrior(Objective, name="embedding-prior"):
    """The errors of a prior about the embeddings of pictures, given their texts. One of diffusion is to predict the
    embedding itself, of which it sees the text and a noisy copy; embeddings are scaled to a variance of 1, errors
    squared and averaged over dimensions. The towers rest: no gradient reaches them."""

    needs_pictures = True
    reads_logits, compares = False, True
    needs_parts = ("prior",)

    def count(self, batch: Batch) -> int:
        """Pairs: samples with a picture and a supervised token."""
        return len(batch.told())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        told = batch.told()
        with torch.no_grad():
            hidden, pictures, texts = model.embed_batch(batch)
            vectors = pictures.vectors[torch.searchsorted(pictures.samples, told)]
            wording = Wording.of(hidden, texts, batch, told)
        found = model.prior.errors(vectors, wording, dice_of(batch.names_of(told), torch.initial_seed()))
        return Loss(precise(found).sum(), len(told))
