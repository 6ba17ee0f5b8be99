"""Hidden states of a frozen text tower, kept: every distinct text is read once.

Where pictures never reach the text (fusion `towers`), the hidden states of a text depend on its tokens alone. Texts
that are not known yet are read in groups of one length and one size, so that no text depends on the company in which it
was first met.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.encoders.cache import Kept, precision_key
from sensorium.model import Model

GROUP = 8
"""Texts of one length that are read together."""


class TextCache(Kept):
    """Stands in for `Model.read`."""

    def __init__(self, model: Model, folder: Path | None = None) -> None:
        super().__init__(model.backbone, "text tower", folder)
        self.model = model
        self.pattern = f"{model.config.fusion.to_dict()}/"

    def __call__(self, batch: Batch, media: Tensor | None = None) -> tuple[Tensor, Any]:
        """Hidden states `[rows, tokens, dim]`, zero where there is padding."""
        texts = _texts(batch)
        opening = (self.pattern + precision_key(batch.ids)).encode()
        keys = {place: hashlib.sha256(opening + ids.numpy().tobytes()).hexdigest() for place, ids in texts.items()}
        missing = {keys[place]: ids for place, ids in texts.items() if keys[place] not in self.features}
        self._read(missing, batch)
        hidden = None
        for (row, start), key in keys.items():
            found = self.features[key].to(batch.ids.device)
            hidden = found.new_zeros(*batch.ids.shape, found.shape[-1]) if hidden is None else hidden
            hidden[row, start : start + len(found)] = found
        assert hidden is not None, "a batch has text, be it the mark that ends a picture's turn"
        return hidden, None

    def _read(self, missing: dict[str, Tensor], batch: Batch) -> None:
        by_length: dict[int, list[str]] = defaultdict(list)
        for key, ids in missing.items():
            by_length[len(ids)].append(key)
        with torch.inference_mode(False), torch.no_grad():  # what is kept may meet a backward pass later
            for same in by_length.values():
                for start in range(0, len(same), GROUP):
                    self._group(same[start : start + GROUP], missing, batch)

    def _group(self, keys: Sequence[str], missing: dict[str, Tensor], batch: Batch) -> None:
        padded = [*keys, *[keys[-1]] * (GROUP - len(keys))]
        ids = torch.stack([missing[key] for key in padded]).to(batch.ids.device)
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        nothing = torch.zeros_like(ids, dtype=torch.bool)
        rows = replace(
            batch, ids=ids, positions=positions, documents=torch.ones_like(ids), media=nothing, supervised=nothing
        )
        backbone = self.model.backbone
        hidden = backbone(backbone.embed(ids), positions, self.model.fusion.attention(rows)).cpu()
        for key, states in zip(keys, hidden, strict=False):
            self.features[key] = states.clone()
        self.encoded += len(keys)


def _texts(batch: Batch) -> dict[tuple[int, int], Tensor]:
    """The ids of every text, by the row and the token at which it begins."""
    ids, documents = batch.ids.cpu(), batch.documents.cpu()
    found = {}
    for row, numbers in enumerate(documents):
        values, lengths = torch.unique_consecutive(numbers, return_counts=True)
        ends = lengths.cumsum(0).tolist()
        for number, length, end in zip(values.tolist(), lengths.tolist(), ends, strict=True):
            if number:
                found[row, end - length] = ids[row, end - length : end]
    return found


def can_keep(model: Model) -> bool:
    """Whether the text tower is frozen, and what is read of it depends on the text alone."""
    frozen = not any(parameter.requires_grad for parameter in model.backbone.parameters())
    tapped = model.head.embeds and model.embedder.config.layer is not None
    return frozen and model.fusion.separate and not tapped


@contextmanager
def kept_texts(model: Model, folder: Path | None = None) -> Iterator[TextCache]:
    """Within it, each distinct text is read once; a `ValueError` if the text tower is being trained."""
    cache: Any = TextCache(model, folder)
    model.read = cache
    try:
        yield cache
    finally:
        del model.read  # the class's own comes back into view
        cache.save()
