"""Pictures and the texts that belong to them, as a Q-Former reads them, and hard negatives among those of a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from sensorium.connectors.q_former import Looked
from sensorium.data.batch import Batch
from sensorium.errors import DataError
from sensorium.heads.embedding import unit
from sensorium.objectives.contrastive import text_keys
from sensorium.objectives.objective import Objective


class PairedConfig(Objective.Config):
    """Of objectives that teach a Q-Former to read."""

    longest: int = Field(default=32, ge=1, description="tokens of a text that are read; the rest is cut off")


class Paired(NamedTuple):
    """The pairs of a batch: samples with a picture and a supervised token, in order."""

    features: Tensor
    """`[pairs, tokens, in_dim]`"""
    ids: Tensor
    """int64 `[pairs, longest]`: the supervised tokens of each, -1 behind the end"""
    keys: Tensor
    """int64 `[pairs]`: a number for each text, that only equal texts share"""


def texts(batch: Batch, longest: int) -> Tensor:
    """The `ids` of the pairs."""
    told, owner = batch.told(), batch.samples_of_tokens()[batch.supervised]
    chosen = torch.isin(owner, told)
    index = torch.searchsorted(told, owner[chosen])
    lengths = torch.bincount(index, minlength=len(told))
    place = torch.arange(len(index), device=index.device) - (lengths.cumsum(0) - lengths)[index]
    ids = batch.ids.new_full((len(told), longest), -1)
    kept = place < longest
    ids[index[kept], place[kept]] = batch.ids[batch.supervised][chosen][kept]
    return ids


def paired(model: Any, batch: Batch, longest: int) -> Paired:
    """The pairs; a `DataError` for one whose pictures are more than one tile."""
    mine, told = one_tile_each(batch, "a Q-Former reads"), batch.told()
    named = batch.samples_of_tokens()[(batch.documents > 0) & ~batch.media].unique()
    features = model.encoder.features(batch.tiles, batch.pictures)[mine]
    return Paired(features, texts(batch, longest), text_keys(batch)[torch.searchsorted(named, told)])


def one_tile_each(batch: Batch, what: str) -> Tensor:
    """bool `[tiles]`: which are those of the pairs; a `DataError` for a pair whose pictures are more than one tile."""
    told, owner = batch.told(), batch.samples_of_pictures()[batch.pictures.of_tiles()]
    mine = torch.isin(owner, told)
    if int(mine.sum()) != len(told):
        raise DataError(
            f"samples of {int(mine.sum())} tiles where {len(told)} were expected, in {batch.names()}: {what} "
            "one picture of one tile with a text; set tiling to whole, and leave samples of several pictures out"
        )
    return mine


def embedded(model: Any, looked: Looked, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What pairs are compared by, of length 1: `[pairs, queries, joint_dim]` of pictures and `[pairs, joint_dim]` of
    texts."""
    words = model.connector.words
    return unit(words.picture_projection(looked.hidden)), unit(words.text_projection(model.connector.read(ids)))


def alike(pictures: Tensor, texts: Tensor) -> Tensor:
    """`[n, queries, joint_dim]` and `[m, joint_dim]` to `[n, m]`: the query that is most like the text (BLIP-2, section
    3.2)."""
    with torch.autocast(pictures.device.type, enabled=False):
        return torch.einsum("nqd,md->nqm", pictures, texts).amax(dim=1)


def chances(total: int, own: Tensor, columns: int) -> Tensor:
    """float64 `[n, columns]` from 0 to 1 for the items of a step with these numbers. They depend on the seed that the
    step was given and on nothing drawn since, nor on how the step is divided."""
    dice = torch.Generator().manual_seed((torch.initial_seed() + 1) % 2**63)
    return torch.rand(total, columns, generator=dice, dtype=torch.float64).to(own.device)[own]


def drawn(logits: Tensor, barred: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """For each row one column that is not `barred`, by the softmax of its logits `[n, m]`, and whether there was one;
    `chance` float64 `[n]` decides."""
    free = ~barred.all(dim=-1)
    weights = logits.detach().double().masked_fill(barred & free[:, None], -torch.inf).softmax(dim=-1)
    sums = weights.cumsum(dim=-1)
    place = torch.searchsorted(sums, (chance * sums[:, -1])[:, None], right=True)[:, 0]
    return place.clamp(max=logits.shape[1] - 1), free
