"""Gated cross-attention between the layers of the language model (Flamingo, arXiv 2204.14198, section 3.1.2)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.activation import Activation
from sensorium.assembly.assembly import Pieces
from sensorium.backbones.backbone import Backbone
from sensorium.data.batch import Batch
from sensorium.errors import ConfigError, LayoutError
from sensorium.fusion.fusion import Fusion
from sensorium.fusion.gated_block import GatedBlock, Looking
from sensorium.fusion.sight import Attend, Sight
from sensorium.template import ChatTemplate


class CrossAttention(Fusion, name="cross-attention"):
    """Features never enter the sequence: the placeholder of a picture stands in the text as an ordinary token, and
    blocks before every n-th layer let the text attend to features. Gates at zero make the new model the plain language
    model, to the bit.

    Flamingo's blocks have as many heads as the language model, `activation=squared-relu only_pictured=false` and stand
    before every layer, or every 4th or 7th; OpenFlamingo's (arXiv 2308.01390) have `only_pictured=false`; InfiMM-HD's
    (arXiv 2403.01487) `every=4 num_heads=12 ff_ratio=1 gates=vector`; Idefics' (arXiv 2306.16527) are built as Llama's
    layers are: `before=first norms=rms qk_norm=true gated_width=11008 only_pictured=false`.
    """

    class Config(Fusion.Config):
        every: int = Field(default=1, ge=1, description="a block before every n-th layer of the backbone: n, 2n, ...")
        before: Literal["last", "first"] = Field(
            default="last", description="which of each n layers has the block: the first is Idefics', 0, n, 2n, ..."
        )
        first: int = Field(default=0, ge=0, description="layers before the first of those, which read text alone")
        num_heads: int = Field(default=8, ge=1)
        head_dim: int = Field(default=64, ge=1)
        ff_ratio: int = Field(default=4, ge=1, description="inner width of the feed-forward by the backbone's width")
        activation: Activation = "gelu"
        gated_width: int | None = Field(
            default=None,
            ge=1,
            description="inner width of a feed-forward gated as Llama's, in place of that of ff_ratio",
        )
        norms: Literal["layer", "rms"] = "layer"
        norm_eps: float = 1e-5
        qk_norm: bool = Field(default=False, description="normalise the queries and keys of each head")
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
        chosen = range(first if self.config.before == "first" else first + every - 1, len(layers), every)
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
