"""Several answers to one prompt in one sequence: the prompt is read once and the answers branch off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sensorium.backbones.backbone import Attention
from sensorium.data.batch import Batch, collate
from sensorium.fusion.inline import Inline
from sensorium.generation.likelihood import replies
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.sample import Sample


@torch.inference_mode()
def branch_likelihoods(model: Model, prompt: Sample, answers: Sequence[str]) -> list[tuple[float, int]]:
    """For each answer, as the assistant's reply: its log-likelihood in nats and its number of tokens.

    The same numbers as `likelihood.rank`, at the cost of one prompt and the answers. A `ValueError` for a model whose
    pictures are not inline: there the mask is the fusion's own.
    """
    if not isinstance(model.fusion, Inline):
        raise ValueError(f"answers can branch only where pictures are inline, not with {type(model.fusion).__name__}")
    laid = replies(model, prompt, answers)
    shared = _shared(laid)
    batch, starts = _branch(laid, shared, collate([[laid[0]]], model.layout))
    batch = batch.to(model.device)
    attention = Attention(_mask(shared, [len(one) - shared for one in laid]).to(model.device))
    hidden = model.read(batch, attention=attention)[0][0]
    scores = []
    for one, start in zip(laid, starts, strict=True):
        wanted = [i for i in range(shared, len(one)) if one.supervised[i]]
        before = torch.tensor([i - 1 if i == shared else start + i - shared - 1 for i in wanted], device=model.device)
        labels = torch.tensor([int(one.ids[i]) for i in wanted], device=model.device)
        chances = model.head(hidden[before]).float().log_softmax(-1).gather(1, labels[:, None])
        scores.append((float(chances.sum()), len(wanted)))
    return scores


def _shared(laid: Sequence[LaidOut]) -> int:
    """How many tokens all begin with and no loss wants."""
    unwanted = min(int(one.supervised.argmax()) for one in laid)
    beginnings = np.stack([one.ids[:unwanted] for one in laid])
    differs = (beginnings != beginnings[0]).any(0)
    return int(differs.argmax()) if differs.any() else unwanted


def _branch(laid: Sequence[LaidOut], shared: int, first: Batch) -> tuple[Batch, list[int]]:
    """One row: the shared beginning, then what is each one's own; and where each begins. `first` is the first alone,
    collated: its pictures are everybody's."""
    ids, positions, starts = list(laid[0].ids[:shared]), list(range(shared)), []
    for one in laid:
        starts.append(len(ids))
        ids += list(one.ids[shared:])
        positions += range(shared, len(one))
    row = torch.tensor([[int(i) for i in ids]])
    media = torch.zeros_like(row, dtype=torch.bool)
    media[0, :shared] = first.media[0, :shared]
    branched = replace(
        first, ids=row, positions=torch.tensor([positions]), media=media, documents=torch.ones_like(row),
        supervised=torch.arange(row.shape[1])[None] >= shared,
    )  # fmt: skip
    return branched, starts


def _mask(shared: int, lengths: Sequence[int]) -> Tensor:
    """Bool `[1, 1, tokens, tokens]`: causal, and no branch sees another."""
    branch = torch.cat([torch.zeros(shared), *(torch.full((n,), i + 1.0) for i, n in enumerate(lengths))])
    causal = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
    return (causal & ((branch[:, None] == branch[None]) | (branch[None] == 0)))[None, None]
