"""Next-token prediction over the supervised tokens: the one place where labels are shifted."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sensorium.data.batch import Batch
from sensorium.objectives.objective import Loss, Objective


class NextToken(Objective, name="next-token"):
    """Cross-entropy in nats. Logits are computed only where a label stands, in chunks, so that a large vocabulary
    never meets a long sequence in memory."""

    class Config(Objective.Config):
        chunk: int = Field(default=4096, ge=1, description="supervised tokens whose logits are held at once")

    def count(self, batch: Batch) -> int:
        return len(predicting(batch)[0])

    @property
    def writing(self) -> NextToken:
        return self

    def __call__(self, model: Any, batch: Batch) -> Loss:
        return self.read(model.head, model(batch), batch)

    def read(self, head: Any, hidden: Tensor, batch: Batch) -> Loss:
        """The loss from hidden states `[rows, tokens, dim]`."""
        rows, places = predicting(batch)
        hidden = hidden[rows, places]
        labels = batch.ids[rows, places + 1]
        total = hidden.new_zeros((), dtype=torch.float32)
        for part, wanted in zip(hidden.split(self.config.chunk), labels.split(self.config.chunk), strict=True):
            if len(labels) > self.config.chunk:
                total = total + checkpoint(_cross_entropy, head, part, wanted, use_reentrant=False)
            else:
                total = total + _cross_entropy(head, part, wanted)
        return Loss(total, len(labels))


def predicting(batch: Batch) -> tuple[Tensor, Tensor]:
    """(row, token) of every position whose next token is supervised and of the same sample."""
    same = batch.documents[:, 1:] == batch.documents[:, :-1]
    rows, places = torch.nonzero(batch.supervised[:, 1:] & same, as_tuple=True)
    return rows, places


def _cross_entropy(head: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), labels, reduction="sum")
