"""The config of a model: which parts, and what they announce to each other without any weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sensorium.adapters.adapters import Adapters
from sensorium.assembly.assembly import Assembly, TileTokens
from sensorium.backbones.backbone import Backbone
from sensorium.config import Config, PartConfig
from sensorium.connectors.connector import Connector
from sensorium.data.tiling import Cut, Tiling
from sensorium.encoders.encoder import Encoder
from sensorium.fusion.fusion import Fusion
from sensorium.heads.head import Head
from sensorium.layout import Layout, MediaRule
from sensorium.painters.painter import Painter
from sensorium.priors.prior import Prior
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer

PARTS = ("encoder", "connector", "assembly", "fusion", "backbone", "head", "adapters", "prior", "painter")


class ModelConfig(Config):
    """Everything that makes a model; saved with it, and enough to rebuild it without any recipe."""

    encoder: Encoder.Config
    tiling: Tiling.Config = Field(default_factory=lambda: Tiling.Config.model_validate("whole"))
    connector: Connector.Config
    assembly: Assembly.Config = Field(default_factory=lambda: Assembly.Config.model_validate("tiles"))
    fusion: Fusion.Config = Field(default_factory=lambda: Fusion.Config.model_validate("inline"))
    backbone: Backbone.Config
    head: Head.Config = Field(default_factory=lambda: Head.Config.model_validate("token"))
    adapters: Adapters.Config = Field(
        default_factory=lambda: Adapters.Config.model_validate("none"), description="the edit attach-adapters sets it"
    )
    prior: Prior.Config = Field(
        default_factory=lambda: Prior.Config.model_validate("none"),
        description="what makes a picture's embedding of a text's, before it is painted",
    )
    painter: Painter.Config = Field(
        default_factory=lambda: Painter.Config.model_validate("none"), description="what paints pictures by embeddings"
    )
    tokenizer: Tokenizer.Config
    template: ChatTemplate = ChatTemplate()
    context: int = Field(default=512, ge=8, description="longest sample in tokens")
    overflow: Literal["refuse", "truncate"] = Field(default="refuse", description="what happens to a longer sample")

    @property
    def entering(self) -> tuple[int, tuple[int, int]]:
        """What enters the connector at once, as tokens and their grid (rows, columns)."""
        return self.assembly.entering(self.encoder.tokens, self.encoder.grid)

    @property
    def tile(self) -> TileTokens:
        """What the connector makes of it: of a tile, unless the assembly joins tiles first."""
        return TileTokens(self.connector.out_tokens(*self.entering), self.connector.out_grid(*self.entering))

    @property
    def media_dim(self) -> int:
        """The width of what leaves the connector."""
        return self.fusion.media_dim(self.backbone.dim, self.encoder.dim)

    @property
    def media_rule(self) -> MediaRule:
        return MediaRule(self.assembly, self.fusion, self.tile)

    def smaller(self) -> tuple[Self, Self]:
        """Two models of the same structure for quick checks: with few layers and narrow, and with few layers alone, for
        there are parts that fit at the given widths only (a connector without projection)."""
        few = self._each("miniature")
        return few._each("narrow"), few

    def _each(self, method: str) -> Self:
        return self.model_copy(update={name: getattr(getattr(self, name), method)() for name in PARTS})

    @property
    def least_picture(self) -> int:
        """Places in the sequence that features of the smallest picture take."""
        plan = self.tiling.build(input_size=self.encoder.input_size).plan((1, 1))
        written = self.media_rule.written(Cut((1, 1), plan), self.template)
        return sum(piece for piece in written if isinstance(piece, int))

    @model_validator(mode="after")
    def _tiling_cuts_what_the_encoder_reads(self) -> Self:
        wanted, cut = self.encoder.rate, self.tiling.rate
        encoder, tiling = self.encoder.type_name, self.tiling.type_name
        if wanted is None and cut is not None:
            raise ValueError(f"encoder '{encoder}' sees, and tiling '{tiling}' cuts sounds: choose another, whole say")
        if wanted is not None and cut is None:
            raise ValueError(f"encoder '{encoder}' hears, and tiling '{tiling}' cuts pictures: set tiling to windows")
        if wanted != cut:
            raise ValueError(
                f"encoder '{encoder}' hears {wanted} samples a second: set tiling.samples_a_second to that"
            )
        return self

    @model_validator(mode="after")
    def _one_picture_fits(self) -> Self:
        if self.least_picture >= self.context:
            raise ValueError(
                f"one picture takes {self.least_picture} tokens and the context is {self.context}: raise context, or "
                "choose a connector with fewer tokens"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        longest = self.backbone.max_positions
        if longest is not None and self.context > longest:
            raise ValueError(
                f"context is {self.context} and the backbone has {longest} positions: lower context, or give the "
                "backbone more"
            )
        extra = self.connector.extra_tokens
        if extra and self.encoder.tokens < self.encoder.grid[0] * self.encoder.grid[1] + extra:
            raise ValueError(
                f"connector '{self.connector.type_name}' reads a class token, which encoder '{self.encoder.type_name}' "
                "does not give as it is: set class_token, or drop_class_token to false, or choose another connector"
            )
        return self

    @model_validator(mode="after")
    def _new_tokens_are_read_and_written(self) -> Self:
        read, written = (getattr(part, "apart", None) for part in (self.backbone, self.head))
        if read != written:
            raise ValueError(f"backbone.apart is {read} and head.apart {written}: give both the same")
        return self

    @model_validator(mode="after")
    def _connector_gets_what_it_takes(self) -> Self:
        connector, assembly = self.connector.type_name, self.assembly.type_name
        if self.assembly.masks and not self.connector.takes_mask:
            raise ValueError(
                f"assembly '{assembly}' hides padding from the connector, and '{connector}' looks at everything: "
                "choose the connector perceiver, or the assembly tiles or unpad"
            )
        if self.connector.reads and self.media_dim != self.backbone.dim:
            raise ValueError(
                f"connector '{connector}' reads instructions, so what leaves it must be as wide as the backbone's "
                f"embeddings, {self.backbone.dim}; with fusion '{self.fusion.type_name}' it is {self.media_dim}"
            )
        if self.connector.reads and self.entering[1] != self.encoder.grid:
            raise ValueError(
                f"connector '{connector}' reads an instruction for each tile, and assembly '{assembly}' joins tiles "
                "before it: choose another of them"
            )
        return self

    @model_validator(mode="after")
    def _painter_gets_what_it_takes(self) -> Self:
        for name in ("prior", "painter"):
            if getattr(self, name).type_name != "none" and not self.head.part.embeds:
                raise ValueError(
                    f"{name} '{getattr(self, name).type_name}' goes by embeddings and head '{self.head.type_name}' "
                    "makes none: set head to 'embedding' or 'token-and-embedding'"
                )
        self.painter.fits(self.encoder.input_size)
        return self

    def resolved(self) -> Self:
        """This config with everything that its parts name elsewhere (a folder of weights, say) written into it."""
        parts = {name: part.resolved() for name, part in self if isinstance(part, PartConfig)}
        return self.from_dict(self.model_copy(update=parts).to_dict())

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer of a new model: trained, or read where the config says."""
        made: Tokenizer = self.tokenizer.part.create(self.tokenizer)
        return made.with_specials((*self.tokenizer.specials, *self.fusion.marks(self.template)))

    def layout(self, tokenizer: Tokenizer) -> Layout:
        tiling = self.tiling.build(input_size=self.encoder.input_size)
        return Layout(tokenizer, self.template, tiling, self.media_rule, self.context, self.overflow)
