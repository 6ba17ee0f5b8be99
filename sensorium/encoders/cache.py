"""Features of a frozen part, kept: here of encoders, every distinct tile of which is encoded once.

Features are looked up by the content of the tile, the weights and config of the encoder, and the autocast type. Tiles
that are not known yet are encoded in groups of one fixed size, so that a feature depends on its tile alone and not on
the company in which it was first met: a resumed run sees what the first one saw. They differ from features of other
batch sizes by rounding only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError

GROUP = 8
"""Tiles that are encoded together."""


class Kept:
    """What a frozen part made of each thing it was given, by key. It stays in memory; with a `folder` it is also
    written there, one file for each config and weights. A `ValueError` if the part is being trained."""

    def __init__(self, part: nn.Module, what: str, folder: Path | None = None) -> None:
        if any(parameter.requires_grad for parameter in part.parameters()) and torch.is_grad_enabled():
            raise ValueError(f"features can be kept only of a frozen {what}, and this one is being trained")
        self.file = folder / f"{fingerprint(part)}.safetensors" if folder else None
        self.features: dict[str, Tensor] = {}
        self.encoded = 0
        """things that had to be encoded"""
        if self.file is not None and self.file.is_file():
            try:
                self.features = load_file(self.file)
            except SafetensorError:  # a file from an interrupted disk: what it held is encoded again
                self.features = {}

    def save(self) -> None:
        """Write the file, whole or not at all, if there is anything new."""
        if self.file is None or not self.encoded:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        save_file(self.features, partial)
        partial.replace(self.file)


class FeatureCache(Kept):
    """Stands in for an encoder's forward."""

    def __init__(self, encoder: Encoder, folder: Path | None = None) -> None:
        super().__init__(encoder, "encoder", folder)
        self.encode: Callable[[Tensor], Tensor] = encoder.forward

    def __call__(self, tiles: Tensor) -> Tensor:
        if not len(tiles):
            return self.encode(tiles)
        keys = [precision_key(tiles) + hashlib.sha256(tile.numpy().tobytes()).hexdigest() for tile in tiles.cpu()]
        missing = {key: place for place, key in enumerate(keys) if key not in self.features}
        places = list(missing.values())
        with torch.inference_mode(False), torch.no_grad():  # kept features may meet a backward pass later
            for start in range(0, len(places), GROUP):
                group = tiles[places[start : start + GROUP]].clone()
                known = len(group)
                group = torch.cat([group, group.new_zeros(GROUP - known, *group.shape[1:])])
                for place, feature in zip(places[start : start + GROUP], self.encode(group)[:known].cpu(), strict=True):
                    self.features[keys[place]] = feature.clone(memory_format=torch.contiguous_format)
                self.encoded += known
        return torch.stack([self.features[key] for key in keys]).to(tiles.device)


@contextmanager
def cached_features(encoder: Encoder, folder: Path | None = None) -> Iterator[FeatureCache]:
    """Within it, `encoder` encodes each distinct tile once; a `ValueError` if any of it is being trained."""
    config: Any = encoder.config
    try:
        config.needs_no_neighbours()
    except ValueError as error:
        raise ConfigError(f"cache_features: {error}") from None
    before = vars(encoder).get("forward")  # an outer cache, if there is one
    cache = FeatureCache(encoder, folder)
    encoder.forward = cache
    try:
        yield cache
    finally:
        if before is None:
            del encoder.forward  # the class's own comes back into view
        else:
            encoder.forward = before
        cache.save()


def fingerprint(part: nn.Module) -> str:
    """A hash of a part's config and all its tensors."""
    config: Any = part.config
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(part.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
    return digest.hexdigest()[:24]


def precision_key(given: Tensor) -> str:
    """What opens a key: the precision in which a part runs here."""
    kind = given.device.type
    return f"{torch.get_autocast_dtype(kind)}/" if torch.is_autocast_enabled(kind) else "exact/"
