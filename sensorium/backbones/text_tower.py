"""The text tower of CLIP (arXiv 2103.00020, section 2.4) and SigLIP (arXiv 2303.15343)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.activation import Activation
from sensorium.backbones.backbone import Attention, Backbone
from sensorium.backbones.decoder import attend
from sensorium.encoders.block import Block

Cache = list[tuple[Tensor, Tensor] | None]


class TextTower(Backbone, name="text-tower"):
    """Learned positions and pre-norm blocks with biases, as in GPT-2. Who attends to whom is the fusion's to say:
    causally in CLIP, both ways in SigLIP."""

    class Config(Backbone.Config):
        width: int = Field(default=128, ge=8)
        depth: int = Field(default=4, ge=1)
        num_heads: int = Field(default=4, ge=1)
        mlp_ratio: float = Field(default=4.0, gt=0)
        positions: int = Field(default=77, ge=1, description="the longest text in tokens; model.context is no more")
        activation: Activation = Field(default="gelu", description="quick-gelu: OpenAI's CLIP; gelu-tanh: SigLIP")
        norm_eps: float = 1e-5

        @model_validator(mode="after")
        def _dimensions(self) -> TextTower.Config:
            if self.width % self.num_heads:
                raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one")
            return self

        @property
        def dim(self) -> int:
            return self.width

        @property
        def max_positions(self) -> int:
            return self.positions

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        inner = round(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            TextBlock(config.width, config.num_heads, inner, config.norm_eps, config.activation)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self._initialise()

    def _initialise(self) -> None:
        """CLIP's: what enters a block has variance 1 / width, what is added to the residual less, by depth."""
        width, depth = self.config.width, self.config.depth
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.01)
        added = (2 * width * depth) ** -0.5
        spread = {"qkv": width**-0.5, "out": added, "up": (2 * width) ** -0.5, "down": added}
        for block in self.blocks:
            for name, std in spread.items():
                layer: Any = getattr(block, name)
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    @property
    def layers(self) -> nn.ModuleList:
        return self.blocks

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

    def output_weight(self) -> Tensor:
        return self.embedding.weight

    def new_cache(self) -> Cache:
        return [None] * len(self.blocks)

    def forward(
        self, embeddings: Tensor, positions: Tensor, attention: Attention, cache: Cache | None = None
    ) -> Tensor:
        hidden = embeddings + self.positions(positions)
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, attention, cache, index)
        return self.norm(hidden)


class TextBlock(Block):
    """A block that attends as it is told, and remembers keys and values."""

    def forward(self, hidden: Tensor, attention: Attention, cache: Cache | None = None, index: int = 0) -> Tensor:
        def attending(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if cache is not None:
                before = cache[index]
                if before is not None:
                    k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
                cache[index] = (k, v)
            return attend(q, k, v, attention)

        return super().forward(hidden, attending)
