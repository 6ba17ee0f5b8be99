"""A connector that begins by saying, in the language model's own embeddings, what the captions say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.data.batch import Batch
from sensorium.edits.edit import Edit, Stages
from sensorium.errors import ConfigError
from sensorium.model import Model


class RidgeStart(Edit, name="ridge-start"):
    """Sets the connector's linear `projection` by ridge regression from a picture's mean feature to the mean embedding
    of its supervised tokens, rare tokens counting more (inverse document frequency).

    Keeps everything but that map; the model's function changes wherever there are pictures. Without pictures (a
    text-only twin) nothing changes.
    """

    class Config(Edit.Config):
        samples: int = Field(default=4000, ge=1, description="samples that are read")
        ridge: float = Field(default=0.3, gt=0, description="added to the diagonal, as a share of the mean variance")

    config: Config
    reads_data = True

    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        projection = getattr(model.connector, "projection", None)
        if not isinstance(projection, nn.Linear) or projection.bias is None:
            raise ConfigError("the edit 'ridge-start' needs a connector with a linear projection and a bias: linear, "
                              f"summary or perceiver, not {type(model.connector).__name__}")  # fmt: skip
        features, texts = _gather(model, projection, batches, self.config.samples)
        if not len(features):
            return
        targets = _mean_embeddings(model, texts).double()
        centre, middle = features.mean(0), targets.mean(0)
        x, y = features - centre, targets - middle
        covariance = x.T @ x
        strength = self.config.ridge * covariance.diagonal().mean()
        slope = torch.linalg.solve(covariance + strength * torch.eye(len(covariance), dtype=x.dtype), x.T @ y)
        with torch.no_grad():
            projection.weight.copy_(slope.T)
            projection.bias.copy_(middle - centre @ slope)


@torch.no_grad()
def _gather(
    model: Model, projection: nn.Linear, batches: Iterator[Batch], samples: int
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """What enters the projection for each tile, averaged over its tokens, `[tiles, in_dim]` in float64 on the CPU, and
    the supervised ids of the tile's sample."""
    entered: list[Tensor] = []
    hook = projection.register_forward_hook(
        lambda _module, inputs, _output: entered.append(inputs[0].detach().mean(1).double().cpu())
    )
    texts: list[tuple[int, ...]] = []
    seen = 0
    try:
        while seen < samples:
            batch = next(batches)
            model.connector(model.tile_features(batch.tiles.to(model.device)))
            texts += _texts(batch)
            seen += max(1, sum(len(row) for row in batch.samples))
    finally:
        hook.remove()
    return torch.cat(entered), texts


def _texts(batch: Batch) -> list[tuple[int, ...]]:
    """The supervised ids of the sample that each tile is of, in the order of the tiles."""
    pictures = batch.pictures
    rows, documents = (column[pictures.of_tiles()].tolist() for column in (pictures.rows, pictures.documents))
    texts = []
    for row, document in zip(rows, documents, strict=True):
        own = (batch.documents[row] == document) & batch.supervised[row]
        texts.append(tuple(batch.ids[row][own].tolist()))
    return texts


def _mean_embeddings(model: Model, texts: list[tuple[int, ...]]) -> Tensor:
    """`[texts, dim]` on the CPU: embeddings averaged by inverse document frequency."""
    frequency = Counter(token for text in texts for token in set(text))
    means = []
    for text in texts:
        ids = torch.tensor([text], device=model.device)
        weights = torch.tensor([math.log((1 + len(texts)) / frequency[token]) for token in text])
        embeddings = model.backbone.embed(ids)[0].detach().float().cpu()
        means.append((weights[:, None] * embeddings).sum(0) / weights.sum().clamp(min=1e-6))
    return torch.stack(means)
