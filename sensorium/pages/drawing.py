"""Drawings in one PNG file: a row for each prompt."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.data.images import open_picture
from sensorium.errors import DataError
from sensorium.generation.drawing import draw, paint, said, seen, slerp
from sensorium.generation.embedding import lay_alone
from sensorium.model import Model
from sensorium.sample import Image, Sample
from sensorium.training.checkpoint import load_model

GAP = 2
"""White pixels between drawings."""


@dataclass(frozen=True)
class Order:
    """What a user wants drawn."""

    texts: tuple[str, ...] = ()
    likes: tuple[Path, ...] = ()
    count: int = 4
    seed: int = 0
    guidance: float | None = None
    steps: int | None = None
    between: bool = False

    def check(self, out: Path) -> None:
        """A `DataError` for what cannot be drawn or written, before a model is loaded."""
        if not any(text.strip() for text in self.texts) and not self.likes:
            raise DataError("nothing to draw; give --text TEXT or --like PICTURE")
        if any(not text.strip() for text in self.texts):
            raise DataError("--text: a text is empty; say what to draw")
        if self.between and (self.texts or len(self.likes) < 2):
            raise DataError("--between goes from picture to picture; give no --text, and --like twice at least")
        if out.suffix.lower() != ".png":
            raise DataError(f"{out}: drawings are written as PNG; name a .png file")
        for like in self.likes:
            open_picture(like, like.name)


def write_drawing(checkpoint: Path, order: Order, out: Path) -> Path:
    """Draw what is ordered with the model in a folder, into one file."""
    order.check(out)
    model = load_model(checkpoint)
    model.painting  # noqa: B018 - a model that draws nothing is told before its pictures are read
    grid(rows(model, order)).save(out)
    return out


def rows(model: Model, order: Order) -> list[Tensor]:
    """Tiles uint8 `[drawings, 3, height, width]` of each row."""
    shown = [Sample((Image(like, id=like.name),), id=like.name) for like in order.likes]
    originals = [as_seen(model, sample) for sample in shown]
    if order.between:
        ends = seen(model, shown)
        shares = torch.linspace(0, 1, order.count).tolist()
        ways = [torch.stack([slerp(one, other, share) for share in shares]) for one, other in pairwise(ends)]
        drawn = [paint(model, way, order.seed, 1, order.guidance, order.steps) for way in ways]
        return [torch.cat(row) for row in zip(originals, drawn, originals[1:], strict=False)]
    prompts = [*map(said, order.texts), *shown]
    drawn = draw(model, prompts, order.count, order.seed, order.guidance, order.steps)
    told = len(order.texts)
    return drawn[:told] + [torch.cat(row) for row in zip(originals, drawn[told:], strict=True)]


def as_seen(model: Model, sample: Sample) -> Tensor:
    """A picture's first tile as the encoder gets it, uint8 `[1, 3, height, width]`."""
    return collate([[lay_alone(model, sample)]], model.layout).tiles[:1]


def grid(drawn: list[Tensor]) -> PILImage.Image:
    """Rows of tiles as one picture on white."""
    _, _, high, wide = drawn[0].shape
    columns = max(len(row) for row in drawn)
    sheet = np.full((len(drawn) * (high + GAP) + GAP, columns * (wide + GAP) + GAP, 3), 255, dtype=np.uint8)
    for r, row in enumerate(drawn):
        for c, tile in enumerate(row):
            top, left = GAP + r * (high + GAP), GAP + c * (wide + GAP)
            sheet[top : top + high, left : left + wide] = tile.permute(1, 2, 0).numpy()
    return PILImage.fromarray(sheet)
