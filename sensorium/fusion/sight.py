"""Which tokens of text look at which features, as a batch of groups that a kernel can work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sensorium.data.batch import Batch

Attend = Literal["last", "before"]


@dataclass(frozen=True)
class Sight:
    """Tokens in groups, each beside the features that some of its tokens see. A group is what follows one picture, if
    tokens see the last picture alone, and what follows the first picture of a sample, if they see all before. No token
    is ever compared with features of another sample, however full the rows are."""

    tokens: Tensor
    """int64 `[groups, longest]`: the group's tokens in the flattened rows; ends repeat a token"""
    repack: Tensor
    """int64 `[rows * tokens]`: where each token stands in the flattened `tokens`; behind its end if it sees nothing"""
    features: Tensor
    """int64 `[groups, most]`: the group's features; ends repeat a feature and are masked"""
    mask: Tensor
    """bool `[groups, 1, longest, most]`: true where a token sees a feature"""
    pictured: Tensor
    """bool `[rows, tokens]`: tokens of samples with pictures, whether they stand before or after them"""
    newest: Tensor
    """int64 `[rows]`: the group of each row's last picture; -1 where there is none"""

    @classmethod
    def of(cls, batch: Batch, attend: Attend) -> Sight:
        """A token sees pictures that stand at or before it in its own sample: the last, or all."""
        pictures, (rows, width), count = batch.pictures, batch.documents.shape, len(batch.pictures)
        row = torch.arange(rows, device=batch.ids.device)
        sample = (batch.documents + row[:, None] * (width + 1)).flatten()
        shown = pictures.documents + pictures.rows * (width + 1)
        starts = pictures.rows * width + pictures.starts
        last = torch.searchsorted(starts, torch.arange(rows * width, device=starts.device), right=True) - 1
        sees = torch.cat([shown, shown.new_full((1,), -1)])[last] == sample  # before the first picture last is -1
        seeing = sees.nonzero()[:, 0]
        owner = torch.arange(count, device=starts.device)
        if attend == "before" and count:
            owner = torch.unique_consecutive(shown, return_inverse=True)[1]
        groups = int(owner[-1]) + 1 if count else 0
        told, token_place = _table(owner[last[seeing]], groups)
        of_picture = torch.repeat_interleave(pictures.features)
        features, feature_place = _table(owner[of_picture], groups)
        # The ends of queries see all of their group, so that no softmax is over nothing; nobody sees ends of features.
        upto = starts.new_full((told.numel(),), count - 1).index_copy(0, token_place, last[seeing]).view_as(told)
        since = starts.new_full((features.numel(),), count).index_copy(0, feature_place, of_picture).view_as(features)
        repack = starts.new_full((rows * width,), told.numel()).index_copy(0, seeing, token_place)
        behind = torch.searchsorted(starts, (row + 1) * width) - 1
        newest = torch.where(torch.cat([pictures.rows, row.new_full((1,), -1)])[behind] == row, behind, -1)
        return cls(
            seeing[told],
            repack,
            features,
            since[:, None, None] <= upto[:, None, :, None],
            torch.isin(sample, shown).view(rows, width),
            torch.where(newest < 0, -1, torch.cat([owner, owner.new_zeros(1)])[newest]),
        )

    def step(self) -> Sight:
        """For one more token in each row: it sees what the last of its row did. Its groups are those rows that have a
        picture, in order, with the features of `newest`."""
        shown = (self.newest >= 0).nonzero()[:, 0]
        repack = self.newest.new_full(self.newest.shape, len(shown))
        repack[shown] = torch.arange(len(shown), device=shown.device)
        group = self.newest[shown]
        mask = self.mask[group].any(2, keepdim=True)
        newest = torch.where(self.newest < 0, -1, repack)
        return Sight(shown[:, None], repack, self.features[group], mask, (self.newest >= 0)[:, None], newest)


def _table(group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Things in order of their `group`, side by side: the things of each, int64 `[groups, longest]`, 0 where there are
    no more; and where each stands in that, flattened."""
    sizes = torch.bincount(group, minlength=groups)
    longest = int(sizes.max()) if groups else 0
    numbers = torch.arange(len(group), device=group.device)
    place = group * longest + numbers - (sizes.cumsum(0) - sizes)[group]
    table = group.new_zeros(groups * longest).index_copy(0, place, numbers)
    return table.view(groups, longest), place
