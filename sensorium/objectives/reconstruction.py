"""To come back from latents: what an autoencoder learns, before anything is painted in its latents."""

from __future__ import annotations

from typing import Any

import torch

from sensorium.data.batch import Batch
from sensorium.diffusion import dice_of, normal
from sensorium.errors import ConfigError
from sensorium.latents.latents import as_pixels
from sensorium.objectives.objective import Loss, Objective, precise
from sensorium.objectives.paired import one_tile_each


class Reconstruction(Objective, name="reconstruction"):
    """The squared error of the pixels, black -1 and white 1, averaged over those of a picture, after latents that noise
    was added to."""

    needs_pictures, partial = True, True
    reads_logits = False
    needs_parts = ("painter",)

    def count(self, batch: Batch) -> int:
        """Samples with a picture, of one tile, and a supervised token."""
        return len(batch.told())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        told, coder = batch.told(), model.painter.latents
        if not coder.learned:
            kind = coder.config.type_name
            raise ConfigError(f"objective 'reconstruction': latents '{kind}' learn nothing; leave the stage out")
        tiles = batch.tiles[one_tile_each(batch, "a painter paints")]
        latents = coder.encode(tiles)
        dice = dice_of(batch.names_of(told), torch.initial_seed())
        noise = normal(dice, latents.shape[1:], latents) * coder.config.noise
        given = precise(coder.decode(latents + noise))
        return Loss((given - as_pixels(tiles, given)).square().flatten(1).mean(1).sum(), len(told))
