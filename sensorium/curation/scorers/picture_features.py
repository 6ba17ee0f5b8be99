"""Pictures as vectors: the mean feature of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import tile_of
from sensorium.curation.step import Kind, Scorer
from sensorium.encoders.encoder import Encoder
from sensorium.sample import Sample


class PictureFeatures(Scorer, name="picture-features"):
    """`vector`: the mean over the tokens of what an encoder makes of the whole picture, stretched to its input size."""

    class Config(Scorer.Config):
        checkpoint: Path | None = Field(default=None, description="a run or a model, whose encoder is used")
        encoder: Encoder.Config | None = Field(
            default=None, description="or an encoder that names its weights, such as hf-vision"
        )

        @model_validator(mode="after")
        def _one_encoder(self) -> Self:
            if (self.checkpoint is None) == (self.encoder is None):
                raise ValueError("give either a checkpoint or an encoder")
            return self

        @classmethod
        def example(cls) -> Self:
            return cls(encoder=Encoder.Config.model_validate("vit"))

        @property
        def columns(self) -> dict[str, Kind]:
            return {"vector": "vector"}

        def behind(self) -> str | None:
            return weights_digest(self.checkpoint) if self.checkpoint else None

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        if config.checkpoint:
            self.encoder = load_frozen(config.checkpoint).encoder
        else:
            assert config.encoder is not None
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.encoder = config.encoder.build().eval().requires_grad_(False)
            config.encoder.load_pretrained(self.encoder)

    def read(self, sample: Sample) -> np.ndarray:
        """uint8 `[3, height, width]`"""
        return tile_of(sample, self.encoder)

    @torch.inference_mode()
    def score(self, items: Sequence[np.ndarray]) -> list[tuple[np.ndarray]]:
        features = self.encoder(torch.from_numpy(np.stack(items))).float().mean(dim=1)
        return [(vector,) for vector in features.numpy()]
