"""Whether what is drawn is what was asked: FactorWorld's single objects, judged without any model."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from sensorium.data.images import open_picture
from sensorium.data.source import Source
from sensorium.data.worlds.scene import Split
from sensorium.evaluation.alike import Pair, Progress
from sensorium.evaluation.sight import Look, look
from sensorium.evaluation.suite import Case, Metric, Report, Suite, proportion
from sensorium.generation.drawing import imagine, paint, pictures, said, seen
from sensorium.sample import Image, Sample, Text


class Draws(Suite, name="draws"):
    """Texts of held-out scenes are drawn, and other pictures like held-out ones; a judge says which colour and which
    shape it sees (`sensorium/evaluation/sight.py`).

    Metrics, for each split (the first has no prefix): `text/colour`, `text/shape`, `text/both`; of the real pictures of
    the same texts by the same judge `real/...`, and of what the painter's latents keep of them `at-best/...`; with the
    text's own embedding in place of what the prior makes of it `without-prior/...`; of drawings like a picture
    `variation/...`, and `variation/likeness`, the mean cosine of their embeddings with the picture's, beside
    `other/likeness`, that of real pictures with each other. `chance/...` is guessing among the colours and shapes that
    there are.
    """

    class Config(Suite.Config):
        world: Source.Config = Field(
            description="a factorworld source of captions of one plain object on a plain background; split and seed "
            "are set here"
        )
        splits: tuple[Split, ...] = Field(default=("unseen-scenes", "unseen-combinations"), min_length=1)
        texts: int = Field(default=96, ge=2, description="texts to draw, of each split")
        variations: int = Field(default=48, ge=0, description="pictures to draw others like, of each split")
        seed: int = Field(default=77, description="scenes of another seed are other scenes")
        shown: int = Field(default=12, ge=0, description="drawings of each kind for the page")

        @model_validator(mode="after")
        def _single_objects(self) -> Draws.Config:
            world: Any = self.world
            if world.type_name != "factorworld" or world.objects != (1, 1) or world.style != "caption":
                raise ValueError(
                    "world: the judge knows single objects of factorworld: set objects=[1,1], style=caption"
                )
            return self

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        metrics: dict[str, Metric] = {}
        cases: list[Case] = []
        for split in self.config.splits:
            prefix = "" if split == self.config.splits[0] else f"{split}/"
            found, drawn = self._split(model, split, blind, progress)
            metrics |= {prefix + name: metric for name, metric in found.items()}
            cases += drawn
        world: Any = self.config.world
        among = {"colour": len(world.colours), "shape": len(world.shapes)}
        for name, count in {**among, "both": among["colour"] * among["shape"]}.items():
            metrics[f"chance/{name}"] = Metric(1 / count, self.config.texts, (1 / count, 1 / count))
        return Report("draws", metrics, cases)

    def _split(
        self, model: Any, split: str, blind: bool, progress: Progress | None
    ) -> tuple[dict[str, Metric], list[Case]]:
        asked, right = self._asked(split)
        texts = [said(pair.text) for pair in asked]
        vectors = imagine(model, texts, 1, self.config.seed)
        drawn = self._drawn(model, vectors, f"texts of {split}", progress)
        metrics, cases = self._judged("text", drawn, right, [pair.text for pair in asked])
        real = torch.stack([_tile(pair.picture) for pair in asked])
        metrics |= self._judged("real", real, right)[0]
        with torch.inference_mode():
            kept = model.painter.at_best(real.to(model.device)).cpu()
        metrics |= self._judged("at-best", kept, right)[0]
        if model.config.prior.type_name != "none":
            plain = self._drawn(model, model.embed(texts), f"without prior, {split}", progress)
            metrics |= self._judged("without-prior", plain, right)[0]
        if self.config.variations and not blind:
            found, more = self._varied(model, asked, right, split, progress)
            metrics, cases = metrics | found, cases + more
        return metrics, cases

    def _varied(
        self, model: Any, asked: Sequence[Pair], right: list[Look], split: str, progress: Progress | None
    ) -> tuple[dict[str, Metric], list[Case]]:
        like, count = [pair.picture for pair in asked], self.config.variations
        vectors = seen(model, like[:count])
        drawn = self._drawn(model, vectors, f"variations of {split}", progress)
        metrics, cases = self._judged("variation", drawn, right[:count], ["like this?"] * len(vectors))
        again = seen(model, [Sample((_png(tile),), id=f"drawing {i}") for i, tile in enumerate(drawn)])
        metrics["variation/likeness"] = _mean((again * vectors).sum(1))
        metrics["other/likeness"] = _mean((vectors.roll(1, 0) * vectors).sum(1))
        return metrics, cases

    def _asked(self, split: str) -> tuple[list[Pair], list[Look]]:
        """The texts with their pictures, and what is in them."""
        source: Any = self.config.world.override(f"split={split}", f"seed={self.config.seed}").build()
        asked, right = [], []
        for sample in (source[index] for index in range(self.config.texts)):
            (thing,) = sample.meta["scene"].objects
            text = " ".join(s.text for s in sample.segments if isinstance(s, Text))
            asked.append(Pair(Sample(sample.images, sample.id, sample.source), text))
            right.append(Look(thing.colour, thing.shape))
        return asked, right

    def _drawn(self, model: Any, vectors: Tensor, label: str, progress: Progress | None) -> Tensor:
        def told(done: int) -> None:
            if progress:
                progress(label, done, len(vectors))

        return paint(model, vectors, self.config.seed, len(vectors), on_done=told)

    def _judged(
        self, kind: str, tiles: Tensor, right: Sequence[Look], questions: Sequence[str] = ()
    ) -> tuple[dict[str, Metric], list[Case]]:
        world: Any = self.config.world
        found = [look(tile.numpy(), world.colours, world.shapes) for tile in tiles]
        told = [("", "") if one is None else one for one in found]
        hits = [(a[0] == b[0], a[1] == b[1]) for a, b in zip(told, right, strict=True)]
        colour, shape, both = (sum(column) for column in zip(*((*hit, all(hit)) for hit in hits), strict=True))
        metrics = {"colour": colour, "shape": shape, "both": both}
        step = max(1, len(found) // max(1, self.config.shown))
        cases = [
            Case(Sample((_png(tiles[i]),), id=f"{kind} {i}"), questions[i], _name(found[i]), _name(right[i]), kind)
            for i in range(0, len(questions), step)[: self.config.shown]
        ]
        return {f"{kind}/{name}": proportion(count, len(hits)) for name, count in metrics.items()}, cases


def _name(seen_there: Look | None) -> str:
    return "nothing" if seen_there is None else " ".join(seen_there)


def _tile(sample: Sample) -> Tensor:
    """A picture as it is, uint8 `[3, height, width]`."""
    picture = open_picture(sample.images[0].source, sample.name).convert("RGB")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _png(tile: Tensor) -> Image:
    """A drawing as a segment."""
    buffer = io.BytesIO()
    pictures(tile[None])[0].save(buffer, "png")
    return Image(buffer.getvalue())


def _mean(values: Tensor) -> Metric:
    """A mean of cosines with the interval of its normal approximation."""
    n, mean = len(values), float(values.double().mean())
    spread = 1.959964 * float(values.double().std()) / math.sqrt(n) if n > 1 else math.inf
    return Metric(mean, n, (mean - spread, mean + spread), unit="cosine")
