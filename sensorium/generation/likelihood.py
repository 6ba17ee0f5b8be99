"""How likely a model finds given answers: for ranking, multiple choice and retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.objectives.next_token import predicting
from sensorium.sample import Sample, Text


def rank(model: Model, prompt: Sample, answers: Sequence[str], per_token: bool = True) -> list[float]:
    """The log-likelihood of each answer as the assistant's reply, in nats, divided by its tokens if `per_token`."""
    totals, counts = likelihoods(model, replies(model, prompt, answers))
    return (totals / counts if per_token else totals).tolist()


@torch.inference_mode()
def likelihoods(model: Model, laid: Sequence[LaidOut]) -> tuple[Tensor, Tensor]:
    """The log-likelihood, in nats, of what is supervised in each sample, `[n]`, and of how many tokens it is, `[n]`."""
    head, batch = model.writer, collate([[one] for one in laid], model.layout).to(model.device)
    rows, places = predicting(batch)
    logits = head(model(batch)[rows, places]).float()
    scores = logits.log_softmax(-1).gather(-1, batch.ids[rows, places + 1, None])[:, 0]
    totals = scores.new_zeros(len(laid)).index_add(0, rows, scores)
    counts = scores.new_zeros(len(laid)).index_add(0, rows, torch.ones_like(scores))
    return totals, counts


def replies(model: Model, prompt: Sample, answers: Sequence[str]) -> list[LaidOut]:
    """The prompt followed by each answer as the assistant's reply, of which only the reply is supervised."""
    asked = tuple(replace(segment, supervise=False) for segment in prompt.segments)
    layout = copy(model.layout)
    layout.overflow = "refuse"  # the likelihood of part of an answer would be another answer's
    turns = [Text(answer, role="assistant", supervise=True) for answer in answers]
    return [layout(replace(prompt, segments=(*asked, turn))) for turn in turns]
