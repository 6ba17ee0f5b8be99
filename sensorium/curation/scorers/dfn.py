"""A data filtering network: trained on pairs that are known to be good, it scores the pool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import caption_of, tile_of
from sensorium.curation.step import Kind, Scorer
from sensorium.curation.towers import Towers
from sensorium.data.mixture import permuted
from sensorium.data.source import Source
from sensorium.encoders.encoder import Encoder
from sensorium.errors import DataError
from sensorium.sample import Sample

WEIGHTS, LOG = "towers.safetensors", "log.json"
Pair = tuple[np.ndarray, str]


class DFN(Scorer, name="dfn"):
    """`similarity`: the cosine of picture and caption by two towers that were trained on clean pairs alone, by contrast
    (Data Filtering Networks, Fang et al., arXiv 2309.17425, sections 3 and 4; the paper keeps the top 15 %).

    A few spoilt pairs among the clean ones ruin a filter (there, figure 3), so they should have been looked at. The
    picture tower is an encoder from nothing, or that of a checkpoint, frozen. It is trained once, before the first
    sample is scored, and lies beside the columns.
    """

    class Config(Scorer.Config):
        clean: Source.Config = Field(description="pairs that are known to be good, none of them from the pool")
        encoder: Encoder.Config = Field(
            default_factory=lambda: Encoder.Config.model_validate({"type": "vit", "width": 64, "depth": 1})
        )
        checkpoint: Path | None = Field(default=None, description="a run or a model, whose encoder is used instead")
        dim: int = Field(default=128, ge=1, description="width of the space that both towers map into")
        buckets: int = Field(default=8192, ge=2, description="embeddings that words and pairs of words share by hash")
        steps: int = Field(default=400, ge=1)
        pairs: int = Field(default=128, ge=2, description="pairs that are told apart in a step")
        lr: float = Field(default=2e-3, gt=0)
        seed: int = 0

        @property
        def columns(self) -> dict[str, Kind]:
            return {"similarity": "number"}

        def behind(self) -> str:
            return f"{self.clean.fingerprint()}/{self.checkpoint and weights_digest(self.checkpoint)}"

        def make(self) -> Towers:
            """The towers before they are trained."""
            encoder: Encoder = self.encoder.build()
            self.encoder.load_pretrained(encoder)
            if self.checkpoint:
                encoder = load_frozen(self.checkpoint).encoder
            return Towers(encoder, self.dim, self.buckets)

    config: Config
    learns = True

    @classmethod
    def fit(cls, config: Config, folder: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            towers = config.make()
            losses = train(towers, config)
        save_file({name: t.contiguous() for name, t in towers.state_dict().items()}, folder / WEIGHTS)
        (folder / LOG).write_text(json.dumps(losses))

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        with torch.random.fork_rng():
            self.towers = config.make().eval()
        self.towers.load_state_dict(load_file(fitted / WEIGHTS))

    def read(self, sample: Sample) -> Pair:
        return pair_of(sample, self.towers)

    @torch.inference_mode()
    def score(self, items: Sequence[Pair]) -> list[tuple[float]]:
        pictures = self.towers.pictures(torch.from_numpy(np.stack([tile for tile, _ in items])))
        cosines = (pictures * self.towers.texts([text for _, text in items])).sum(-1)
        return [(cosine,) for cosine in cosines.tolist()]


def pair_of(sample: Sample, towers: Towers) -> Pair:
    """The picture, uint8 `[3, height, width]`, and the caption."""
    return tile_of(sample, towers.encoder), caption_of(sample)


def train(towers: Towers, config: DFN.Config) -> list[float]:
    """Train on the clean pairs; the loss of each step. A `DataError` if there are too few."""
    source: Source = config.clean.build()
    if len(source) < config.pairs:
        raise DataError(f"dfn: {len(source)} clean pairs are fewer than the {config.pairs} of a step; lower pairs")
    trained = [p for p in towers.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, config.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, config.steps, pct_start=0.1)
    stream = endless(source, towers, config.seed)
    losses = []
    for _ in range(config.steps):
        batch = [next(stream) for _ in range(config.pairs)]
        loss = towers.contrast(torch.from_numpy(np.stack([tile for tile, _ in batch])), [text for _, text in batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def endless(source: Source, towers: Towers, seed: int) -> Iterator[Pair]:
    """The source's pairs, shuffled anew each time; those that cannot be read are left out."""
    for epoch in count():
        found = False
        for place in range(len(source)):
            try:
                pair = pair_of(source[permuted(place, len(source), f"dfn/{seed}/{epoch}")], towers)
            except DataError:
                continue
            found = True
            yield pair
        if not found:
            raise DataError("dfn: none of the clean pairs can be read; check 'clean'")
