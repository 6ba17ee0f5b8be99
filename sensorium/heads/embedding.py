"""Embeddings of pictures and texts in one space, and how alike they are (CLIP, arXiv 2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.perceiver import Perceiver, PerceiverLayer
from sensorium.data.batch import Batch
from sensorium.heads.head import Head


class Embedded(NamedTuple):
    """Embeddings of the samples of a batch that have what is embedded, in order."""

    vectors: Tensor
    """`[samples, dim]`, of length 1"""
    samples: Tensor
    """int64 `[samples]`: their numbers, as `Batch.samples_of_tokens` has them"""


class EmbeddingHead(Head, name="embedding"):
    """A text is one of its hidden states, or their mean, projected; a picture is what the connector made of it. Both
    are brought to length 1. How alike they are is `exp(logit_scale) * cosine + logit_bias`."""

    writes, embeds = False, True

    class Config(Head.Config):
        pool: Literal["last", "mean", "first", "query"] = Field(
            default="last",
            description="the text's last token, as in CLIP; query: a learned query attends to all (CosMo)",
        )
        layer: int | None = Field(
            default=None, ge=0, description="read what leaves this layer of the backbone, and not the last one's"
        )
        norm: bool = Field(default=False, description="normalise hidden states before the projection")
        bias: bool = Field(default=False, description="of the text's projection; SigLIP has one")
        dim: int | None = Field(
            default=None, ge=1, description="width to which pictures are projected, too; by default they arrive so"
        )
        picture: Literal["mean", "first"] = Field(
            default="mean", description="a picture's features: their mean, or the first, as where it is a summary"
        )
        scale: float = Field(default=1 / 0.07, gt=0, description="first exp(logit_scale); SigLIP: 10")
        max_scale: float | None = Field(
            default=100.0, ge=1, description="it is brought back to 1 .. max_scale after each step; SigLIP: null"
        )
        logit_bias: float | None = Field(default=None, description="its first value; SigLIP: -10; CLIP has none")

        def miniature(self) -> Self:
            """For a backbone of few layers."""
            return self.model_copy(update={"layer": None if self.layer is None else 0})

    config: Config

    def __init__(self, config: Config, weight: Tensor, bias: Tensor | None, media_dim: int) -> None:
        super().__init__()
        self.config = config
        dim, joint = weight.shape[1], config.dim or media_dim
        self.query = Query(dim) if config.pool == "query" else None
        self.norm = nn.LayerNorm(dim) if config.norm else nn.Identity()
        self.projection = nn.Linear(dim, joint, bias=config.bias)
        nn.init.normal_(self.projection.weight, std=dim**-0.5)
        self.picture_projection = nn.Linear(media_dim, joint, bias=False) if config.dim else nn.Identity()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.logit_bias = None if config.logit_bias is None else nn.Parameter(torch.tensor(config.logit_bias))

    @property
    def embedding(self) -> EmbeddingHead:
        return self

    def forward(self, hidden: Tensor) -> Tensor:
        """What was pooled of texts, `[..., dim]`, to their embeddings `[..., joint]`."""
        return unit(self.projection(self.norm(hidden)))

    def see(self, pooled: Tensor) -> Tensor:
        """What was pooled of pictures, `[..., media_dim]`, to their embeddings `[..., joint]`."""
        return unit(self.picture_projection(pooled))

    def texts(self, hidden: Tensor, batch: Batch) -> Embedded:
        """The samples with text, from hidden states `[rows, tokens, dim]`; a sample's texts count as one."""
        chosen = (batch.documents > 0) & ~batch.media
        samples, lengths = torch.unique_consecutive(batch.samples_of_tokens()[chosen], return_counts=True)
        return Embedded(self(self._pooled(hidden[chosen], lengths)), samples)

    def _pooled(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """`[all tokens, dim]` of texts that are so long, to `[texts, dim]`."""
        ends = lengths.cumsum(0)
        if self.config.pool == "last":
            return tokens[ends - 1]
        if self.config.pool == "first":
            return tokens[ends - lengths]
        if self.query is not None:
            return self.query(tokens, lengths)
        return mean_of(tokens, lengths)

    def pictures(self, media: Tensor, batch: Batch) -> Embedded:
        """The samples with pictures, from all features `[n, media_dim]`; a sample is the mean of its pictures."""
        counts, first = batch.pictures.features, self.config.picture == "first"
        pictures = media[counts.cumsum(0) - counts] if first else mean_of(media, counts)
        samples, lengths = torch.unique_consecutive(batch.samples_of_pictures(), return_counts=True)
        return Embedded(self.see(mean_of(pictures, lengths)), samples)

    def logits(self, ones: Tensor, others: Tensor) -> Tensor:
        """How alike embeddings are, `[n, dim]` and `[m, dim]` to `[n, m]`, in their own precision."""
        with torch.autocast(ones.device.type, enabled=False):
            found = self.logit_scale.exp() * ones @ others.T
            return found if self.logit_bias is None else found + self.logit_bias

    @torch.no_grad()
    def settle(self) -> None:
        """CLIP, section 2.5: logits are not scaled by more than 100, nor by less than 1 (open_clip)."""
        if self.config.max_scale is not None:
            self.logit_scale.clamp_(0, math.log(self.config.max_scale))


class Query(nn.Module):
    """A learned query attends to a text's tokens, then a feed-forward (CosMo, arXiv 2401.00849, section 3.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        heads = next(heads for heads in (8, 4, 2, 1) if dim % heads == 0)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.layer = PerceiverLayer(Perceiver.Config(num_heads=heads, head_dim=dim // heads), dim)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """`[all tokens, dim]` of texts that are so long, to `[texts, dim]`."""
        states, real = padded(tokens, lengths)
        return self.layer(states, self.query.expand(len(lengths), -1, -1), real)[:, 0]


def padded(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """`[all tokens, dim]` of texts that are so long, to `[texts, longest, dim]` with zeros behind the ends, and bool
    `[texts, longest]`: which are tokens."""
    longest = max(lengths.tolist(), default=1)
    real = torch.arange(longest, device=tokens.device) < lengths[:, None]
    return tokens.new_zeros(*real.shape, tokens.shape[-1]).masked_scatter(real[..., None], tokens), real


def mean_of(values: Tensor, lengths: Tensor) -> Tensor:
    """`[n, dim]`, so many in turn, to the mean of each stretch, `[stretches, dim]`."""
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths)
    total = values.new_zeros(len(lengths), values.shape[-1]).index_add(0, owner, values)
    return total / lengths[:, None]


def unit(x: Tensor) -> Tensor:
    """To length 1, in float32 at least."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
