"""Whether a text belongs to a picture (BLIP-2's ITM, arXiv 2301.12597, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sensorium.data.batch import Batch
from sensorium.objectives.contrastive import equals, own_numbers
from sensorium.objectives.image_text_contrastive import warmth
from sensorium.objectives.objective import Read, StepObjective, precise
from sensorium.objectives.paired import PairedConfig, alike, chances, drawn, embedded, paired
from sensorium.objectives.ranks import gathered, row_counts


class ImageTextMatching(StepObjective, name="image-text-matching"):
    """Three questions for each pair of a step, answered yes or no with queries and text seeing each other: the pair
    itself, its text with another's picture, its picture with another's text. The others are drawn among all pairs of
    the step by how alike they are (ALBEF, arXiv 2107.07651, section 3.2). The loss is the mean over the questions."""

    needs_pictures, partial = True, True
    reads_logits, reads_text = False, True

    class Config(PairedConfig):
        same_texts: bool = Field(default=False, description="a pair's equals, by their texts, are no negatives of it")
        chunk: int = Field(default=256, ge=1, description="questions whose activations are held at once")

    config: Config

    def count(self, batch: Batch) -> int:
        """Pairs: samples with a picture and a supervised token."""
        return len(batch.told())

    def read(self, model: Any, batch: Batch) -> Read:
        features, ids, keys = paired(model, batch, self.config.longest)
        with torch.no_grad():
            pictures, texts = embedded(model, model.connector.look(features), ids)
        return Read((pictures, texts, keys, features, ids), features.new_zeros(()))

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        counts, (features, ids) = row_counts(compared[0]), compared[3:]
        all_features, all_ids = gathered(features, counts), gathered(ids, counts)
        other_picture, other_text, own, has = self.negatives(model, compared[:3], counts)
        pictures = torch.cat([own, other_picture[has], own[has]])
        texts = torch.cat([own, own[has], other_text[has]])
        labels = torch.cat([torch.ones_like(own), torch.zeros_like(own[has]), torch.zeros_like(own[has])])
        total, size = precise(features.new_zeros(())), self.config.chunk
        for picture, text, label in zip(*(x.split(size) for x in (pictures, texts, labels)), strict=True):
            given = (model.connector, all_features[picture], all_ids[text], label)
            asked = checkpoint(_asked, *given, use_reentrant=False) if len(labels) > size else _asked(*given)
            total = total + asked
        return total / 3

    @torch.no_grad()
    def negatives(
        self, model: Any, compared: tuple[Tensor, ...], counts: list[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Numbers among all pairs of the step, int64 `[pairs]`: of a picture for each text and of a text for each
        picture, and the pairs' own; and whether a pair has such others, bool `[pairs]`."""
        pictures, texts, keys = compared
        all_pictures, all_texts, all_keys = (gathered(column, counts) for column in compared)
        own = own_numbers(counts, pictures.device)
        barred = equals(keys, all_keys, own) & self.config.same_texts
        barred[torch.arange(len(own)), own] = True
        if not len(own):
            return own, own, own, own.bool()
        chance, temperature = chances(sum(counts), own, 2), warmth(model)
        picture, has = drawn(alike(all_pictures, texts).T / temperature, barred, chance[:, 0])
        text, _ = drawn(alike(pictures, all_texts) / temperature, barred, chance[:, 1])
        return picture, text, own, has


def _asked(connector: Any, features: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(precise(connector.match(features, ids)), labels, reduction="sum")
