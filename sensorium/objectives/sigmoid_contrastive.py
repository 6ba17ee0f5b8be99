"""Whether this text is this picture's, for each text and each picture of the step (SigLIP, arXiv 2303.15343)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.objectives.contrastive import pairs
from sensorium.objectives.objective import Read, StepObjective
from sensorium.objectives.ranks import passing, row_counts


class SigmoidContrastive(StepObjective, name="sigmoid-contrastive"):
    """The sum over all pictures and texts of -log sigmoid(z * logit), z being 1 for a pair and -1 for all else, counted
    by pictures (algorithm 1). Texts are passed from rank to rank in a ring, so that no rank holds the similarities of
    all (section 3.3). The head wants a `logit_bias`."""

    needs_pictures = True
    reads_logits, compares = False, True

    def count(self, batch: Batch) -> int:
        """Pairs: samples with a picture and a supervised token."""
        return len(batch.told())

    def read(self, model: Any, batch: Batch) -> Read:
        _, pictures, texts = model.embed_batch(batch)
        return Read(pairs(pictures, texts, batch)[:2], pictures.vectors.new_zeros(()))

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        (pictures, texts), head = compared, model.embedder
        logits = head.logits(pictures, texts)
        # -log sigmoid(-x) is softplus(x), and -log sigmoid(x) is softplus(x) - x
        total = F.softplus(logits).sum() - logits.diagonal().sum()
        for others in passing(texts, row_counts(texts)):
            total = total + F.softplus(head.logits(pictures, others)).sum()
        return total
