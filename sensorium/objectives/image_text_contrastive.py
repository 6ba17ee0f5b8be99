"""Which text is the picture's, by the query that is most like it (BLIP-2's ITC, arXiv 2301.12597, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.objectives.contrastive import equals, own_numbers
from sensorium.objectives.objective import Read, StepObjective
from sensorium.objectives.paired import PairedConfig, alike, embedded, paired
from sensorium.objectives.ranks import gathered, row_counts


class ImageTextContrastive(StepObjective, name="image-text-contrastive"):
    """Softmax cross-entropy with smoothed labels over the texts of all pairs of a step for each picture, and over the
    pictures for each text, halved. Pictures and texts are read apart, the latter at the mark before them. How alike
    they are is divided by a learned temperature."""

    needs_pictures, partial = True, True
    reads_logits, reads_text = False, True

    class Config(PairedConfig):
        smoothing: float = Field(default=0.1, ge=0, lt=1, description="share of a label that is spread over all")
        same_texts: bool = Field(default=False, description="a pair's equals, by their texts, are no negatives of it")

    config: Config

    def count(self, batch: Batch) -> int:
        """Pairs: samples with a picture and a supervised token."""
        return len(batch.told())

    def read(self, model: Any, batch: Batch) -> Read:
        features, ids, keys = paired(model, batch, self.config.longest)
        pictures, texts = embedded(model, model.connector.look(features), ids)
        return Read((pictures, texts, keys), pictures.new_zeros(()))

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        pictures, texts, keys = compared
        counts, temperature = row_counts(pictures), warmth(model)
        all_pictures, all_texts, all_keys = (gathered(column, counts) for column in compared)
        if not sum(counts):
            return alike(pictures, texts).sum() / temperature
        own = own_numbers(counts, pictures.device)
        out = equals(keys, all_keys, own) if self.config.same_texts else torch.zeros(len(own), sum(counts)).bool()
        found = (alike(pictures, all_texts), alike(all_pictures, texts).T)
        return sum((self._smoothed(likeness / temperature, own, out.to(own.device)) for likeness in found),
                   texts.new_zeros(())) / 2  # fmt: skip

    def _smoothed(self, logits: Tensor, own: Tensor, out: Tensor) -> Tensor:
        """The sum of cross-entropies over columns that are not `out`, among which the labels are spread."""
        found = logits.masked_fill(out, -torch.inf).log_softmax(dim=-1)
        spread = found.masked_fill(out, 0).sum(dim=-1) / (~out).sum(dim=-1)
        right = found.gather(1, own[:, None])[:, 0]
        return -((1 - self.config.smoothing) * right + self.config.smoothing * spread).sum()


def warmth(model: Any) -> Tensor:
    """The learned temperature, kept from 0 as BLIP keeps it (arXiv 2201.12086)."""
    return model.connector.words.temperature.clamp(0.001, 0.5)
