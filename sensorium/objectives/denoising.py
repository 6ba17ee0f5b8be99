"""To see through noise: what a painter learns (unCLIP, arXiv 2204.06125, section 2.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.diffusion import Parted, asked, dice_of, normal
from sensorium.objectives.objective import Loss, Objective, precise
from sensorium.objectives.paired import one_tile_each


class Denoising(Objective, name="denoising"):
    """Noise is added to a picture's latents, as much as a step drawn for it says, and the painter, given the picture's
    embedding, is to predict what its config says: squared errors, averaged over the latents of a picture. The towers
    that embed, and the latents, rest: no gradient reaches them."""

    needs_pictures, partial = True, True
    reads_logits, compares = False, True
    needs_parts = ("painter",)

    def count(self, batch: Batch) -> int:
        """Samples with a picture, of one tile, and a supervised token."""
        return len(batch.told())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        mine, told, painter = one_tile_each(batch, "a painter paints"), batch.told(), model.painter
        with torch.no_grad():
            seen = model.embedder.pictures(model.media(batch), batch)
            vectors = seen.vectors[torch.searchsorted(seen.samples, told)]
            latents = painter.latents.encode(batch.tiles[mine]).to(vectors.dtype)
        return Loss(denoised(painter, latents, vectors, batch, told), len(told))


def denoised(part: Any, clean: Tensor, condition: Any, batch: Batch, samples: Tensor) -> Tensor:
    """The sum over `samples` of the mean squared error of a prior or painter on `clean` `[n, ...]` with noise. Steps,
    noise, and whether the condition is withheld depend on the seed that the step was given and on the sample's name."""
    dice = dice_of([batch.name_of(int(number)) for number in samples], torch.initial_seed())
    times = torch.tensor([int(torch.randint(len(part.schedule), (1,), generator=one)) for one in dice])
    kept = torch.tensor([float(torch.rand(1, generator=one)) >= part.config.drop for one in dice])
    times, kept = times.long().to(clean.device), kept.bool().to(clean.device)
    mixed = Parted(clean, normal(dice, clean.shape[1:], clean))
    signal, spread = part.schedule.levels(times, clean)
    given = precise(part(signal * mixed.x0 + spread * mixed.noise, times, condition, kept))
    return (given - asked(part.prediction, mixed, signal, spread)).square().flatten(1).mean(1).sum()
