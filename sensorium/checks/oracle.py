"""A stand-in for a model that knows the answers, to see where an objective looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.laid_out import LaidOut

SURE = 30.0


class Oracle:
    """Predicts the next token exactly where that token is supervised, and a wrong one everywhere else.

    Where that is, it counts from the laid-out samples themselves and not from the batch, whose labels are in question.
    """

    def __init__(self, rows: Sequence[Sequence[LaidOut]], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.places: list[tuple[int, int]] = []
        for number, row in enumerate(rows):
            start = 0
            for laid in row:
                self.places += [(number, start + i - 1) for i in range(1, len(laid)) if laid.supervised[i]]
                start += len(laid)

    @property
    def count(self) -> int:
        return len(self.places)

    def __call__(self, batch: Batch) -> Tensor:
        """`[rows, tokens, 1]`: the token it predicts there, which `head` turns into logits."""
        following = batch.ids.roll(-1, dims=1)
        guess = (following + 1) % self.vocab_size
        rows, places = torch.tensor(self.places).T
        guess[rows, places] = following[rows, places]
        return guess[..., None].float()

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `[n, vocab]`, sure of the token that `hidden` names."""
        return torch.zeros(len(hidden), self.vocab_size).scatter(1, hidden.long(), SURE)
