"""Embeddings of pictures and texts: for retrieval, and for classification without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.sample import Sample, Table, Text

GROUP = 32
"""Samples that are read together."""


@torch.inference_mode()
def embed(model: Model, samples: Sequence[Sample], on_done: Callable[[int], None] | None = None) -> Tensor:
    """Embeddings `[n, dim]` of length 1, of each sample's pictures, or of its text if it has no pictures; a `DataError`
    for a sample with both. Text is laid out as in training, as running text, whoever says it. `on_done` is told how
    many are done."""
    head = model.embedder
    laid = [lay_alone(model, sample) for sample in samples]
    order = sorted(range(len(laid)), key=lambda i: (bool(laid[i].spans), len(laid[i])))
    vectors: list[Tensor] = [torch.empty(0)] * len(laid)
    for start in range(0, len(order), GROUP):
        chosen = order[start : start + GROUP]
        batch = collate([[laid[i]] for i in chosen], model.layout).to(model.device)
        seen = [i for i in chosen if laid[i].spans]
        if len(seen) == len(chosen):
            found = head.pictures(model.media(batch), batch).vectors
        else:
            _, pictures, texts = model.embed_batch(batch)
            read = [number for number, i in enumerate(chosen) if not laid[i].spans]
            found = torch.cat([texts.vectors[read], pictures.vectors])  # pictures come last in the order
        for i, vector in zip(chosen, found, strict=True):
            vectors[i] = vector
        if on_done:
            on_done(start + len(chosen))
    return torch.stack(vectors) if vectors else torch.zeros(0, head.projection.out_features)


def lay_alone(model: Model, sample: Sample) -> LaidOut:
    """A picture or a text laid out as running text; a `DataError` for a sample with both."""
    pictures = any(not isinstance(segment, Text | Table) for segment in sample.segments)
    if pictures and any(isinstance(segment, Text | Table) for segment in sample.segments):
        raise DataError(
            f"{sample.name}: has a picture and text; embed them as two samples, and compare the two embeddings"
        )
    return model.layout(replace(sample, segments=tuple(replace(s, role="document") for s in sample.segments)))
