"""CLIP score: how near picture and caption are to a pre-trained model of both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from sensorium.assets import find_file, need
from sensorium.curation.pairs import caption_of, picture_of
from sensorium.curation.step import Kind, Scorer
from sensorium.data.tilings.whole import Whole
from sensorium.encoders.encoder import Normalise
from sensorium.encoders.hf import normalisation
from sensorium.errors import ConfigError
from sensorium.sample import Sample
from sensorium.training.manifest import file_digest


class CLIPScore(Scorer, name="clip-score"):
    """`similarity`: the cosine of picture and caption (CLIPScore without its factor, Hessel et al., arXiv 2104.08718)
    by a two-tower model of transformers, CLIP or SigLIP, in a local folder. CLIP sees the centre of the picture,
    SigLIP all of it, stretched, as they were trained; captions beyond the model's context are cut.
    """

    class Config(Scorer.Config):
        path: Path = Field(description="a folder with config.json, safetensors, tokenizer and preprocessor_config.json")

        @property
        def columns(self) -> dict[str, Kind]:
            return {"similarity": "number"}

        def behind(self) -> str:
            files = sorted(file for file in self.path.glob("*") if file.is_file())
            return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        need("transformers", "hf", "clip-score")
        from transformers import AutoModel, AutoTokenizer

        find_file(str(config.path), "config.json")
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.model: Any = AutoModel.from_pretrained(config.path, use_safetensors=True, dtype=torch.float32, **local)
        if not hasattr(self.model, "text_model") or not hasattr(self.model, "vision_model"):
            kind = self.model.config.model_type
            raise ConfigError(f"{config.path}: a '{kind}' has no two towers; give the folder of a CLIP or SigLIP model")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(config.path, **local)
        self.model.eval().requires_grad_(False)
        side = self.model.config.vision_config.image_size
        siglip = self.model.config.model_type.startswith("siglip")
        self.tiling = Whole.Config(fit="stretch" if siglip else "crop").build(input_size=(side, side))
        self.normalise = Normalise(**normalisation(str(config.path)))
        # SigLIP was trained with padding up to its context and sees it; CLIP ends at its last token
        self.padding = "max_length" if siglip else True

    def read(self, sample: Sample) -> tuple[np.ndarray, str]:
        """uint8 `[3, side, side]` and the caption."""
        picture = picture_of(sample)
        return self.tiling.cut(picture, self.tiling.plan(picture.size))[0], caption_of(sample)

    @torch.inference_mode()
    def score(self, items: Sequence[tuple[np.ndarray, str]]) -> list[tuple[float]]:
        longest = self.model.config.text_config.max_position_embeddings
        texts = self.tokenizer([text for _, text in items], padding=self.padding, truncation=True, max_length=longest,
                               return_tensors="pt")  # fmt: skip
        pixels = self.normalise(torch.from_numpy(np.stack([tile for tile, _ in items])))
        seen = self.model(pixel_values=pixels, **texts)
        cosines = torch.cosine_similarity(seen.image_embeds, seen.text_embeds)
        return [(cosine,) for cosine in cosines.tolist()]
