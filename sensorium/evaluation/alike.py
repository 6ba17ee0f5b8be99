"""Pictures and texts by their embeddings: what suites need that look for what is most alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.generation.embedding import GROUP, embed
from sensorium.sample import Sample, Text

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pair:
    """A picture, as a sample of its own, and the text that is said of it."""

    picture: Sample
    text: str


def pairs(source: Source, most: int | None = None, distinct: bool = False) -> list[Pair]:
    """The pictures of a source with their supervised texts; with `distinct`, none whose text an earlier one has. A
    `DataError` for a sample without either."""
    found: list[Pair] = []
    texts: set[str] = set()
    for index in range(len(source)):
        if most is not None and len(found) >= most:
            break
        sample = source[index]
        text = " ".join(s.text for s in sample.segments if isinstance(s, Text) and s.supervise)
        if not sample.images or not text:
            raise DataError(f"{sample.name}: needs a picture and a supervised text; give a source of captions or chats")
        if not (distinct and text in texts):
            found.append(Pair(replace(sample, segments=sample.images), text))
        texts.add(text)
    return found


def text_vectors(model: Any, texts: Sequence[str]) -> Tensor:
    """Embeddings `[texts, dim]` of length 1."""
    return embed(model, [Sample((Text(text, role="document"),), id=text[:40]) for text in texts])


def picture_vectors(model: Any, pictures: Sequence[Sample], blind: bool, told: Callable[[int], None]) -> Tensor:
    """Embeddings `[pictures, dim]` of length 1; all alike where pictures are withheld."""
    if blind:
        width = text_vectors(model, ["."]).shape[1]
        return torch.full((len(pictures), width), width**-0.5)
    return embed(model, pictures, told).float().cpu()


@torch.inference_mode()
def plain_features(model: Any, pictures: Sequence[Sample]) -> Tensor:
    """The encoder's mean feature of each picture, `[pictures, dim]` of length 1: what a frozen encoder knows before any
    alignment."""
    found = []
    for start in range(0, len(pictures), GROUP):
        laid = [model.layout(picture) for picture in pictures[start : start + GROUP]]
        batch = collate([[one] for one in laid], model.layout).to(model.device)
        features = model.encoder.features(batch.tiles, batch.pictures).float().mean(1)
        owners = batch.pictures.of_tiles()
        total = features.new_zeros(len(laid), features.shape[1]).index_add(0, owners, features)
        found.append(F.normalize(total, dim=-1).cpu())
    return torch.cat(found)


class Nearest:
    """The baseline without alignment: what is said of the nearest picture that is known (by the encoder's features)
    stands for a picture."""

    def __init__(self, model: Any, source: Source) -> None:
        self.model, self.known = model, pairs(source)
        self.features = plain_features(model, [pair.picture for pair in self.known])
        texts = {text: number for number, text in enumerate(dict.fromkeys(pair.text for pair in self.known))}
        self.vectors = text_vectors(model, list(texts)).float().cpu()[[texts[pair.text] for pair in self.known]]

    def __call__(self, pictures: Sequence[Sample]) -> Tensor:
        """For each picture the embedding of its neighbour's text, `[pictures, dim]`."""
        return self.vectors[(plain_features(self.model, pictures) @ self.features.T).argmax(1)]
