"""The prior contract: a text's embedding to that of a picture it could be of (unCLIP, arXiv 2204.06125, section 2.2).

A text and its picture are alike in the space of embeddings, but not the same: a text leaves open much of what is in the
picture, and the two kinds lie in regions of their own. A prior draws one of the pictures' embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig
from sensorium.data.batch import Batch
from sensorium.heads.embedding import Embedded, padded


class Wording(NamedTuple):
    """What is known of some texts."""

    vectors: Tensor
    """`[n, joint_dim]`, of length 1: their embeddings"""
    tokens: Tensor
    """`[n, longest, text_dim]`: what the text tower made of each token, 0 behind the end"""
    real: Tensor
    """bool `[n, longest]`"""

    @classmethod
    def of(cls, hidden: Tensor, texts: Embedded, batch: Batch, samples: Tensor) -> Wording:
        """The wording of `samples`, int64 `[n]` numbers in a batch, given its hidden states `[rows, tokens, dim]` and
        the embeddings of all its texts."""
        chosen = (batch.documents > 0) & ~batch.media & torch.isin(batch.samples_of_tokens(), samples)
        lengths = torch.unique_consecutive(batch.samples_of_tokens()[chosen], return_counts=True)[1]
        vectors = texts.vectors[torch.searchsorted(texts.samples, samples)]
        return cls(vectors, *padded(hidden[chosen], lengths))

    def repeated(self, count: int) -> Wording:
        """Each text so often, one after the other."""
        return Wording(*(column.repeat_interleave(count, dim=0) for column in self))


class Prior(nn.Module, Part, family="prior", package="sensorium.priors"):
    """Built with the width of embeddings, `joint_dim`, and that of the text tower, `text_dim`."""

    class Config(PartConfig):
        pass

    def __init__(self, config: Config, joint_dim: int, text_dim: int) -> None:
        super().__init__()
        self.config = config

    def errors(self, vectors: Tensor, wording: Wording, dice: Sequence[torch.Generator]) -> Tensor:
        """`[n]`: how wrong it is about the embeddings `[n, joint_dim]` of the pictures that texts belong to; what
        training makes small."""
        raise NotImplementedError

    def imagine(self, wording: Wording, dice: Sequence[torch.Generator]) -> Tensor:
        """Embeddings of pictures, `[n, joint_dim]` of length 1, that texts could be of; `dice` has one for each."""
        return wording.vectors


class NoPrior(Prior, name="none"):
    """The text's own embedding stands in for a picture's. The paper's ablation of the prior (section 5.1) is this."""
