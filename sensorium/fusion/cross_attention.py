"""Gated cross-attention between the layers of the language model (Flamingo, arXiv 2204.14198, section 3.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.activation import Activation, activation
from sensorium.assembly.assembly import Pieces
from sensorium.backbones.backbone import Backbone
from sensorium.data.batch import Batch
from sensorium.errors import ConfigError, LayoutError
from sensorium.fusion.fusion import Fusion
from sensorium.fusion.sight import Attend, Sight
from sensorium.template import ChatTemplate


class CrossAttention(Fusion, name="cross-attention"):
    """Features never enter the sequence: the placeholder of a picture stands in the text as an ordinary token, and
    blocks before every n-th layer let the text attend to features. Gates at zero make the new model the plain language
    model, to the bit.

    Flamingo's blocks have as many heads as the language model, `activation=squared-relu only_pictured=false` and stand
    before every layer, or every 4th or 7th; OpenFlamingo's (arXiv 2308.01390) have `only_pictured=false`; InfiMM-HD's
    (arXiv 2403.01487) `every=4 num_heads=12 ff_ratio=1 gates=vector`.
    """

    class Config(Fusion.Config):
        every: int = Field(default=1, ge=1, description="a block before every n-th layer of the backbone: n, 2n, ...")
        first: int = Field(default=0, ge=0, description="layers before the first of those, which read text alone")
        num_heads: int = Field(default=8, ge=1)
        head_dim: int = Field(default=64, ge=1)
        ff_ratio: int = Field(default=4, ge=1, description="inner width of the feed-forward by the backbone's width")
        activation: Activation = "gelu"
        gates: Literal["scalar", "vector", "none"] = Field(
            default="scalar", description="one gate a branch, one a channel, or none, so that all is open at once"
        )
        attend: Attend = Field(default="last", description="to the last picture of the sample, or to all before")
        only_pictured: bool = Field(
            default=True,
            description="leave samples without pictures as they are, to the bit; otherwise the new feed-forward reads "
            "them, too",
        )
        media_width: int | None = Field(default=None, ge=1, description="width of features, by default the encoder's")

        def miniature(self) -> Self:
            """For a backbone of two layers."""
            return self.model_copy(update={"every": 1, "first": min(self.first, 1)})

        def media_dim(self, backbone: int, encoder: int) -> int:
            return self.media_width or encoder

        def written(self, pieces: Pieces, template: ChatTemplate) -> Pieces:
            return [template.image]

        def marks(self, template: ChatTemplate) -> tuple[str, ...]:
            return (template.image,)

    config: Config

    def attach(self, backbone: Backbone) -> None:
        first, every, layers = self.config.first, self.config.every, backbone.layers
        if first + every > len(layers):
            raise ConfigError(
                f"fusion 'cross-attention': first is {first}, every is {every} and the backbone has {len(layers)} "
                "layers"
            )
        chosen = range(first + every - 1, len(layers), every)
        self.blocks = nn.ModuleList(GatedBlock(self.config, self.dim, self.media_dim) for _ in chosen)
        for block, layer in zip(self.blocks, chosen, strict=True):
            layers[layer].register_forward_pre_hook(partial(self._enter, block))

    def _enter(self, block: nn.Module, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What a layer reads has gone through its block."""
        return None if self.state is None else (block(given[0], self.state), *given[1:])

    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        return embeddings

    def open(self, media: Tensor, batch: Batch) -> Looking:
        if (counted := int(batch.pictures.features.sum())) != len(media):
            raise LayoutError(
                f"{counted} features laid out but {len(media)} made in {batch.names()}: the layout and the model's "
                "parts disagree on what a picture is worth"
            )
        return Looking(Sight.of(batch, self.config.attend), media)

    def next(self, state: Looking) -> Looking:
        return state.step()


@dataclass(frozen=True)
class Looking:
    """What the blocks read while the backbone reads a batch, and what they leave for the tokens that follow."""

    sight: Sight
    media: Tensor | None
    """`[n, media_dim]`; None once all keys and values are there"""
    keys_values: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """of each block, `[groups, heads, most, head_dim]`"""

    def step(self) -> Looking:
        """For one more token in each row, and for every one after it."""
        if self.media is None:
            return self
        group = self.sight.newest[self.sight.newest >= 0]
        return Looking(self.sight.step(), None, {b: (k[group], v[group]) for b, (k, v) in self.keys_values.items()})


class GatedBlock(nn.Module):
    """`y += tanh(a) * attention(y, media)`, `y += tanh(b) * feed_forward(y)`, `a` and `b` zero at first. Pre-norm, no
    biases; features are not normalised. Where nothing is seen, attention gives zero."""

    def __init__(self, config: CrossAttention.Config, dim: int, media_dim: int) -> None:
        super().__init__()
        inner, gates = config.num_heads * config.head_dim, {"scalar": 1, "vector": dim, "none": 0}[config.gates]
        self.num_heads, self.only_pictured = config.num_heads, config.only_pictured
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(media_dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(gates)) if gates else None
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, config.ff_ratio * dim, bias=False),
            activation(config.activation),
            nn.Linear(config.ff_ratio * dim, dim, bias=False),
        )
        self.feed_forward_gate = nn.Parameter(torch.zeros(gates)) if gates else None

    def forward(self, hidden: Tensor, looking: Looking) -> Tensor:
        """`hidden` `[rows, tokens, dim]` to the same shape."""
        new = hidden + _gated(self._attend(self.norm(hidden), looking), self.attention_gate)
        new = new + _gated(self.feed_forward(new), self.feed_forward_gate)
        return torch.where(looking.sight.pictured[..., None], new, hidden) if self.only_pictured else new

    def _attend(self, normed: Tensor, looking: Looking) -> Tensor:
        sight = looking.sight
        q = self._heads(self.to_q(normed).flatten(0, 1)[sight.tokens])
        k, v = self._keys_values(looking)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=sight.mask).transpose(1, 2).flatten(2)
        nothing = attended.new_zeros(1, attended.shape[-1])
        found = torch.cat([attended.flatten(0, 1), nothing])[sight.repack]
        return self.to_out(found.view(*normed.shape[:2], -1))

    def _keys_values(self, looking: Looking) -> tuple[Tensor, Tensor]:
        if looking.media is not None:
            k, v = self.to_kv(looking.media)[looking.sight.features].chunk(2, dim=-1)
            looking.keys_values[self] = self._heads(k), self._heads(v)
        return looking.keys_values[self]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _gated(update: Tensor, gate: Tensor | None) -> Tensor:
    return update if gate is None else gate.tanh() * update
