"""A model is a composition: encoder -> connector -> assembly -> fusion -> backbone -> head, built from one config.

`ModelConfig` (`sensorium/model_config.py`) names the parts, `Model` holds them, and its `layout` is the only owner of
token accounting.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from sensorium.adapters.adapters import Adapters
from sensorium.assembly.assembly import Assembly, Connect
from sensorium.backbones.backbone import Attention, Backbone
from sensorium.connectors.connector import Connector, Instruction
from sensorium.data.batch import Batch, Pictures, collate
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.fusion.fusion import Fusion
from sensorium.heads.embedding import Embedded, EmbeddingHead
from sensorium.heads.head import Head
from sensorium.model_config import PARTS, ModelConfig
from sensorium.painters.painter import Painter
from sensorium.priors.prior import Prior
from sensorium.sample import Sample, Segment, as_sample
from sensorium.tokenizers.tokenizer import Tokenizer

__all__ = ["PARTS", "Model", "ModelConfig", "compose"]


class Model(nn.Module):
    """The parts, wired. Forward gives hidden states; heads and objectives read them."""

    encoder: Encoder
    connector: Connector
    assembly: Assembly
    fusion: Fusion
    backbone: Backbone
    head: Head
    adapters: Adapters
    prior: Prior
    painter: Painter

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer, self.layout = config, tokenizer, config.layout(tokenizer)
        self.encoder = config.encoder.build()
        self.backbone = config.backbone.build(vocab_size=tokenizer.vocab_size)
        grid, dim = config.encoder.grid, config.media_dim
        self.connector = config.connector.build(in_dim=config.encoder.dim, out_dim=dim, grid=config.entering[1])
        self.connector.attach(tokenizer.vocab_size)
        self.assembly = config.assembly.build(dim=dim, max_tiles=config.tiling.max_tiles, grid=grid, tile=config.tile)
        self.fusion = config.fusion.build(dim=config.backbone.dim, media_dim=dim)
        self.fusion.attach(self.backbone)
        weight, bias = self.backbone.output_weight(), self.backbone.output_bias()
        self.head = config.head.build(weight=weight, bias=bias, media_dim=dim)
        embedder = self.head.embedding
        joint = dim if embedder is None else embedder.projection.out_features
        self.prior = config.prior.build(joint_dim=joint, text_dim=config.backbone.dim)
        self.painter = config.painter.build(joint_dim=joint, size=config.encoder.input_size)
        self.adapt(config.adapters)

    def adapt(self, adapters: Adapters.Config) -> None:
        """Give the backbone adapters in place of those it has, whose hooks must be off (`Adapters.merge`)."""
        self.config = self.config.model_copy(update={"adapters": adapters})
        self.adapters = adapters.build()
        self.adapters.attach(self.backbone)

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states `[rows, tokens, dim]` of a packed batch."""
        return self.read(batch)[0]

    def read(
        self, batch: Batch, cache: Any = None, attention: Attention | None = None, media: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Hidden states, and what the fusion keeps for tokens that follow. The keys and values of a `cache` are
        extended; `attention` stands in for the fusion's own, and `media` is what `media` gave, if that is known."""
        media = self.media(batch) if media is None else media
        embeddings = self.fusion(self.backbone.embed(batch.ids), media, batch)
        state = self.fusion.open(media, batch)
        with self.fusion.during(state):
            hidden = self.backbone(embeddings, batch.positions, attention or self.fusion.attention(batch), cache)
        return hidden, state

    def media(self, batch: Batch) -> Tensor:
        """The features of all pictures, `[n, media_dim]`; the encoder runs once over all tiles, even over none."""
        return self.media_of(batch.tiles, batch.pictures, self._connect(batch))

    def media_of(self, tiles: Tensor, pictures: Pictures, connect: Connect | None = None) -> Tensor:
        """The same of `tiles` uint8 `[tiles, 3, height, width]` that are those of some pictures; `connect` stands in
        for the connector."""
        return self.assembly(self.encoder.features(tiles, pictures), pictures, connect or self.connector)

    def _connect(self, batch: Batch) -> Connect:
        """The connector, told what is asked of each tile's picture if it reads that."""
        if not (count := self.connector.config.reads):
            return self.connector
        placed = self.connector.config.reads_placeholders
        shown = self.tokenizer.id_of(self.config.template.image) if placed else None
        ids, mask = (column[batch.pictures.of_tiles()] for column in batch.instructions(count, shown))
        return partial(self.connector, instruction=Instruction(self.backbone.embed(ids), mask))

    def tile_features(self, tiles: Tensor) -> Tensor:
        """The features of tiles each by itself, as the connector takes them: for what learns from tiles and not from
        sequences. A `ConfigError` where the connector is given tiles joined."""
        if self.config.entering[1] != self.config.encoder.grid:
            what = f"the assembly '{self.config.assembly.type_name}' joins tiles before the connector"
            raise ConfigError(
                f"{what}, so nothing can be learned from a tile by itself: leave that objective or edit out"
            )
        return self.encoder(tiles)

    def embed_batch(self, batch: Batch) -> tuple[Tensor, Embedded, Embedded]:
        """One pass: the hidden states, and the embeddings of the samples that have pictures and of those that have
        text; a `ConfigError` if the head makes none."""
        head, media = self.embedder, self.media(batch)
        with self.backbone.tapping(head.config.layer) as heard:
            hidden = self.read(batch, media=media)[0]
        return hidden, head.pictures(media, batch), head.texts(heard[-1] if heard else hidden, batch)

    @property
    def embedder(self) -> EmbeddingHead:
        """The head that embeds; a `ConfigError` if there is none."""
        if (found := self.head.embedding) is not None:
            return found
        raise ConfigError(
            f"head '{self.config.head.type_name}' makes no embeddings: compose the model with fusion 'towers', a "
            "connector of one token and head 'embedding' (as recipe 'clip-mini'), or with head 'token-and-embedding'"
        )

    @property
    def writer(self) -> Head:
        """The head, if text can be written with it; a `ConfigError` otherwise."""
        if self.head.writes:
            return self.head
        raise ConfigError(
            f"head '{self.config.head.type_name}' writes no text: use model.embed(...) or the suites 'retrieval' and "
            "'zero-shot', or compose the model with head 'token' or 'token-and-embedding'"
        )

    @property
    def painting(self) -> Painter:
        """The painter; a `ConfigError` if there is none."""
        if self.painter.paints:
            return self.painter
        raise ConfigError(
            "the model draws nothing: compose it with a painter and a head that embeds, as recipe 'unclip-mini'"
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.inference_mode()
    def logits(self, samples: Sequence[Sample | Sequence[Segment | str]]) -> list[Tensor]:
        """Logits `[tokens, vocab]` of each sample, media tokens included, every sample by itself in its row."""
        head, laid = self.writer, [self.layout(as_sample(sample)) for sample in samples]
        hidden = self(collate([[one] for one in laid], self.layout).to(self.device))
        return [head(hidden[row, : len(one)]) for row, one in enumerate(laid)]

    def generate(self, prompt: Sample | Sequence[Segment | str], max_tokens: int = 64, temperature: float = 0.0) -> str:
        """The assistant's reply to a prompt; greedy at temperature 0."""
        from sensorium.generation.engine import generate

        return generate(self, [as_sample(prompt)], max_tokens=max_tokens, temperature=temperature)[0]

    def rank(self, prompt: Sample | Sequence[Segment | str], answers: Sequence[str]) -> list[float]:
        """The log-likelihood of each answer as the assistant's reply, in nats a token."""
        from sensorium.generation.likelihood import rank

        return rank(self, as_sample(prompt), answers)

    def embed(self, samples: Sequence[Sample | Sequence[Segment | str]]) -> Tensor:
        """Embeddings `[n, dim]` of length 1, each of a sample's picture or of its text; a picture and a text that
        belong together are alike. A `ConfigError` if the model's head makes none."""
        from sensorium.generation.embedding import embed

        return embed(self, [as_sample(sample) for sample in samples])

    def draw(
        self, prompts: Sequence[Sample | Sequence[Segment | str]], count: int = 1, seed: int = 0
    ) -> list[list[PILImage.Image]]:
        """So many pictures by each prompt: of a text, what it says; of a picture, others like it. A `ConfigError` if
        the model has no painter."""
        from sensorium.generation.drawing import draw, pictures

        return [pictures(tiles) for tiles in draw(self, [as_sample(one) for one in prompts], count, seed)]

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
    model.fusion.begin(model.backbone)
    return model
