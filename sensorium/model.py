"""A model is a composition: encoder -> connector -> fusion -> backbone -> head, built from one config.

`ModelConfig` names the parts, `Model` holds them, and its `layout` is the only owner of token accounting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.backbones.backbone import Backbone
from sensorium.config import Config, PartConfig
from sensorium.connectors.connector import Connector
from sensorium.data.batch import Batch, collate
from sensorium.data.tiling import Tiling
from sensorium.encoders.encoder import Encoder
from sensorium.fusion.fusion import Fusion
from sensorium.heads.head import Head
from sensorium.layout import Layout
from sensorium.sample import Sample, Segment, as_sample
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer

PARTS = ("encoder", "connector", "fusion", "backbone", "head")


class ModelConfig(Config):
    """Everything that makes a model; saved with it, and enough to rebuild it without any recipe."""

    encoder: Encoder.Config
    tiling: Tiling.Config = Field(default_factory=lambda: Tiling.Config.model_validate("whole"))
    connector: Connector.Config
    fusion: Fusion.Config = Field(default_factory=lambda: Fusion.Config.model_validate("inline"))
    backbone: Backbone.Config
    head: Head.Config = Field(default_factory=lambda: Head.Config.model_validate("token"))
    tokenizer: Tokenizer.Config
    template: ChatTemplate = ChatTemplate()
    context: int = Field(default=512, ge=8, description="longest sample in tokens")
    overflow: Literal["refuse", "truncate"] = Field(default="refuse", description="what happens to a longer sample")

    @property
    def tokens_per_tile(self) -> int:
        return self.connector.out_tokens(self.encoder.tokens, self.encoder.grid)

    @model_validator(mode="after")
    def _one_picture_fits(self) -> Self:
        if self.tokens_per_tile >= self.context:
            raise ValueError(
                f"one tile takes {self.tokens_per_tile} tokens and the context is {self.context}: raise context, or "
                "choose a connector with fewer tokens"
            )
        return self

    def resolved(self) -> Self:
        """This config with everything that its parts name elsewhere (a folder of weights, say) written into it."""
        return self.model_copy(update={name: part.resolved() for name, part in self if isinstance(part, PartConfig)})

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer of a new model: trained, or read where the config says."""
        return self.tokenizer.part.create(self.tokenizer)

    def layout(self, tokenizer: Tokenizer) -> Layout:
        tiling = self.tiling.build(input_size=self.encoder.input_size)
        return Layout(tokenizer, self.template, tiling, self.tokens_per_tile, self.context, self.overflow)


class Model(nn.Module):
    """The parts, wired. Forward gives hidden states; heads and objectives read them."""

    encoder: Encoder
    connector: Connector
    fusion: Fusion
    backbone: Backbone
    head: Head

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer, self.layout = config, tokenizer, config.layout(tokenizer)
        self.encoder = config.encoder.build()
        self.backbone = config.backbone.build(vocab_size=tokenizer.vocab_size)
        dim = config.backbone.dim
        self.connector = config.connector.build(in_dim=config.encoder.dim, out_dim=dim, grid=config.encoder.grid)
        self.fusion = config.fusion.build(dim=dim, max_tiles=config.tiling.max_tiles)
        self.head = config.head.build(weight=self.backbone.output_weight())

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states `[rows, tokens, dim]` of a packed batch."""
        embeddings = self.fuse(batch)
        return self.backbone(embeddings, batch.positions, self.fusion.attention(batch))

    def fuse(self, batch: Batch) -> Tensor:
        """What enters the backbone, `[rows, tokens, dim]`; the encoder runs once over all tiles, even over none."""
        media = self.connector(self.encoder(batch.tiles))
        return self.fusion(self.backbone.embed(batch.ids), media, batch)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.inference_mode()
    def logits(self, samples: Sequence[Sample | Sequence[Segment | str]]) -> list[Tensor]:
        """Logits `[tokens, vocab]` of each sample, media tokens included, every sample by itself in its row."""
        laid = [self.layout(as_sample(sample)) for sample in samples]
        hidden = self(collate([[one] for one in laid], self.layout).to(self.device))
        return [self.head(hidden[row, : len(one)]) for row, one in enumerate(laid)]

    def generate(self, prompt: Sample | Sequence[Segment | str], max_tokens: int = 64, temperature: float = 0.0) -> str:
        """The assistant's reply to a prompt; greedy at temperature 0."""
        from sensorium.generation.engine import generate

        return generate(self, [as_sample(prompt)], max_tokens=max_tokens, temperature=temperature)[0]

    def rank(self, prompt: Sample | Sequence[Segment | str], answers: Sequence[str]) -> list[float]:
        """The log-likelihood of each answer as the assistant's reply, in nats a token."""
        from sensorium.generation.likelihood import rank

        return rank(self, as_sample(prompt), answers)

    def save(self, folder: str | Path) -> None:
        """Write config, tokenizer and one safetensors file a part; whole or not at all."""
        from sensorium.training.checkpoint import save_model

        save_model(self, Path(folder))


def compose(config: ModelConfig, tokenizer: Tokenizer | None = None) -> Model:
    """A new model: tokenizer made, if none is given, parts built and, where their configs name pre-trained weights,
    filled with them."""
    config = config.resolved()
    model = Model(config, tokenizer or config.make_tokenizer())
    for name in PARTS:
        getattr(config, name).load_pretrained(getattr(model, name))
    return model
