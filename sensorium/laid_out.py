"""A sample as tokens: what a layout gives, and how it is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sensorium.data.tiling import Cut
from sensorium.sample import Audio, Image, Sample


@dataclass(frozen=True)
class MediaSpan:
    """The tokens `start .. start + length` stand for one picture, one frame of a video, or one sound; it is worth
    `features` vectors, which may stand there or be attended to from elsewhere."""

    start: int
    length: int
    segment: Image | Audio
    cut: Cut
    features: int
    stands: int
    """the token at which the picture itself stands, behind the marks before it"""


@dataclass(frozen=True)
class LaidOut:
    """A sample as tokens. `supervised[i]` says whether the loss wants token `i` predicted (from the tokens before it;
    the shift itself happens in the objective and only there), `media[i]` whether a feature stands there."""

    sample: Sample
    ids: np.ndarray
    supervised: np.ndarray
    media: np.ndarray
    spans: tuple[MediaSpan, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tiles(self) -> int:
        return sum(span.cut.plan.tiles for span in self.spans)

    def first(self, limit: int, spans: tuple[MediaSpan, ...]) -> LaidOut:
        """The first `limit` tokens, with the pictures that are left."""
        arrays = {name: getattr(self, name)[:limit] for name in ("ids", "supervised", "media")}
        return replace(self, spans=spans, **arrays)


def truncate(laid: LaidOut, limit: int) -> LaidOut:
    """Keep the first `limit` tokens; a picture or frame that would be cut is dropped, with all that follows it."""
    for span in laid.spans:
        if span.start < limit < span.start + span.length:
            limit = span.start
    return laid.first(limit, tuple(span for span in laid.spans if span.start + span.length <= limit))
