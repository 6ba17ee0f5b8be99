"""What is where: the tokens of each region's text, from the one token of the picture that is at its middle."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.objectives.objective import Loss, Objective, precise


class RegionTokens(Objective, name="region-tokens"):
    """Objects as points (arXiv 1904.07850, section 3) with words for classes: the token of the grid in which the middle
    of a region lies is to name it, and all others are to say nothing, which is the padding token. The names are bags of
    words under a softmax, as in `caption-tokens`; where the middles of several regions share a token, it names them
    all. A connector that picks places is taught beside to pick these. Where a connector's tokens belong to no place,
    the picture as a whole is to name all that is in it.

    The language model takes no part. It is given pictures in which an object is one token, which it learns to point at
    from far fewer examples than if several tokens each showed a part.
    """

    needs_pictures = True
    partial = True

    def count(self, batch: Batch) -> int:
        """Tiles in which a region lies."""
        return len(batch.regions.tiles.unique())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        shown, place = batch.regions.tiles.unique(return_inverse=True)
        located = model.connector.located(model.tile_features(batch.tiles[shown]))
        tokens = precise(located.tokens)
        logits = precise(model.head(F.rms_norm(tokens, tokens.shape[-1:])))
        nothing = model.tokenizer.pad_id
        targets = self.targets(batch, place, logits.shape, nothing)
        total = -(targets * logits.log_softmax(-1)).sum()
        if located.salience is not None:
            there = (targets[..., nothing] == 0).to(logits.dtype)
            total = total + F.binary_cross_entropy_with_logits(precise(located.salience), there, reduction="sum")
        return Loss(total / tokens.shape[1:3].numel(), len(shown))

    def targets(self, batch: Batch, place: Tensor, shape: torch.Size, nothing: int) -> Tensor:
        """Distributions `[tiles, rows, columns, vocab]` over the words that each cell is to say; `place` `[regions]`
        numbers the tiles in which the regions lie."""
        tiles, rows, columns, vocab = shape
        left, top, right, bottom = batch.regions.boxes.unbind(1)
        # A middle just short of 1 is 1 after rounding.
        column = ((left + right) / 2 * columns).long().clamp(max=columns - 1)
        row = ((top + bottom) / 2 * rows).long().clamp(max=rows - 1)
        wanted = torch.zeros(tiles * rows * columns, vocab + 1, device=place.device)  # the last: behind the end
        where = ((place * rows + row) * columns + column)[:, None].expand_as(batch.regions.ids)
        wanted[where.flatten(), batch.regions.ids.flatten()] = 1
        wanted = wanted[:, :vocab]
        wanted[:, nothing] = (wanted.sum(1) == 0).float()
        return (wanted / wanted.sum(1, keepdim=True)).view(shape)
