"""Which text is the picture's, which picture the text's, among all of a step (CLIP, arXiv 2103.00020, section 2.3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.heads.embedding import Embedded
from sensorium.objectives.objective import Read, StepObjective
from sensorium.objectives.ranks import gathered, ranks, row_counts


class Contrastive(StepObjective, name="contrastive"):
    """Softmax cross-entropy over the rows and over the columns of the similarities, halved (CLIP, figure 3; InfoNCE,
    arXiv 1807.03748). The pairs of all micro-batches and ranks of a step are each other's negatives."""

    needs_pictures = True
    reads_logits, compares = False, True

    class Config(StepObjective.Config):
        same_texts: bool = Field(
            default=False,
            description="leave a pair's equals out of its negatives: those with the very same text, such as short "
            "captions of like pictures",
        )

    def count(self, batch: Batch) -> int:
        """Pairs: samples with a picture and a supervised token."""
        return len(batch.told())

    def read(self, model: Any, batch: Batch) -> Read:
        _, pictures, texts = model.embed_batch(batch)
        return Read(pairs(pictures, texts, batch), pictures.vectors.new_zeros(()))

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        pictures, texts, keys = compared
        counts, head = row_counts(pictures), model.embedder
        all_pictures, all_texts, all_keys = (gathered(column, counts) for column in compared)
        own = own_numbers(counts, pictures.device)
        if not sum(counts):
            return head.logits(pictures, texts).sum()
        excused = equals(keys, all_keys, own) if self.config.same_texts else None
        found = (head.logits(pictures, all_texts), head.logits(texts, all_pictures))
        if excused is not None:
            found = tuple(logits.masked_fill(excused, -torch.inf) for logits in found)
        return sum((F.cross_entropy(logits, own, reduction="sum") for logits in found), texts.new_zeros(())) / 2


def own_numbers(counts: list[int], device: torch.device) -> Tensor:
    """int64 `[n]`: the numbers of this rank's items among those of all, of whom each rank has so many."""
    rank = ranks()[0]
    return sum(counts[:rank]) + torch.arange(counts[rank], device=device)


def equals(keys: Tensor, all_keys: Tensor, own: Tensor) -> Tensor:
    """bool `[n, m]`: which of all others have the very same text."""
    found = keys[:, None] == all_keys
    found[torch.arange(len(own)), own] = False
    return found


def pairs(pictures: Embedded, texts: Embedded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The embeddings of the samples that are pairs, `[pairs, dim]` of pictures and of texts, and a number for each
    text, int64 `[pairs]`, that only equal texts share."""
    told = batch.told()
    chosen = [one.vectors[torch.searchsorted(one.samples, told)] for one in (pictures, texts)]
    return chosen[0], chosen[1], text_keys(batch)[torch.searchsorted(texts.samples, told)]


def text_keys(batch: Batch) -> Tensor:
    """int64 `[samples with text]`: a hash of each one's ids and their places, in the order of `EmbeddingHead.texts`."""
    chosen = (batch.documents > 0) & ~batch.media
    owner = torch.unique_consecutive(batch.samples_of_tokens()[chosen], return_inverse=True)[1]
    mixed = (batch.ids[chosen] + 1) * 0x9E3779B97F4A7C1 + (batch.positions[chosen] + 1) * 0x2545F4914F6CDD1
    mixed = (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D5  # integers wrap around
    mixed = mixed ^ (mixed >> 31)
    count = int(owner.max()) + 1 if len(owner) else 0
    return mixed.new_zeros(count).index_add(0, owner, mixed)
