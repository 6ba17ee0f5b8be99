"""To see through noise: what a painter learns (unCLIP, arXiv 2204.06125, section 2.1)."""

from __future__ import annotations

from typing import Any

import torch

from sensorium.data.batch import Batch
from sensorium.diffusion import dice_of
from sensorium.objectives.objective import Loss, Objective, precise
from sensorium.objectives.paired import one_tile_each


class Denoising(Objective, name="denoising"):
    """Pictures by their embeddings: the errors of a painter. One of diffusion adds noise to a picture's latents, as
    much as a step drawn for it says, and is to predict what its config says; errors are squared and averaged.
    The towers that embed, and the latents, rest: no gradient reaches them.

    What is drawn depends on the seed that the step was given and on the sample's name."""

    needs_pictures, partial = True, True
    reads_logits, compares = False, True
    needs_parts = ("painter",)

    def count(self, batch: Batch) -> int:
        """Samples with a picture, of one tile, and a supervised token."""
        return len(batch.told())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        mine, told = one_tile_each(batch, "a painter paints"), batch.told()
        with torch.no_grad():
            seen = model.embedder.pictures(model.media(batch), batch)
            vectors = seen.vectors[torch.searchsorted(seen.samples, told)]
        found = model.painter.errors(batch.tiles[mine], vectors, dice_of(batch.names_of(told), torch.initial_seed()))
        return Loss(precise(found).sum(), len(told))
