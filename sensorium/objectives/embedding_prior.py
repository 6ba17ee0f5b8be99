"""To tell a picture's embedding from a text: what a prior learns (unCLIP, arXiv 2204.06125, section 2.2)."""

from __future__ import annotations

from typing import Any

import torch

from sensorium.data.batch import Batch
from sensorium.objectives.denoising import denoised
from sensorium.objectives.objective import Loss, Objective
from sensorium.priors.prior import Wording


class EmbeddingPrior(Objective, name="embedding-prior"):
    """The mean squared error between a picture's embedding and what the prior predicts from it with noise and from the
    text (section 2.2, the equation of the diffusion prior), embeddings being scaled to a variance of 1. The towers
    rest: no gradient reaches them."""

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
        return Loss(denoised(model.prior, model.prior.scaled(vectors), wording, batch, told), len(told))
