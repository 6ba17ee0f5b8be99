"""The single owner of token accounting: sample x model config -> token ids, spans, labels.

Nothing else in the project knows how many tokens a picture takes or which tokens the loss sees. The layout needs no
weights, so loader workers and `sensorium check` use the same object as training, generation and evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.data.images import picture_size
from sensorium.data.tables import text_of
from sensorium.data.tiling import TilePlan, Tiling
from sensorium.data.video import video_frames
from sensorium.errors import LayoutError
from sensorium.sample import Image, Role, Sample, Segment, Table, Text, Video
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class MediaSpan:
    """The tokens `start .. start + length` stand for one picture, or one frame of a video, cut by `plan`."""

    start: int
    length: int
    image: Image
    plan: TilePlan


@dataclass(frozen=True)
class LaidOut:
    """A sample as tokens. `supervised[i]` says whether the loss wants token `i` predicted (from the tokens before it;
    the shift itself happens in the objective and only there)."""

    sample: Sample
    ids: np.ndarray
    supervised: np.ndarray
    spans: tuple[MediaSpan, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tiles(self) -> int:
        return sum(span.plan.tiles for span in self.spans)


class Layout:
    """Lays samples out for one model. `tokens_per_tile` is what its encoder and connector announce together."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        tiling: Tiling,
        tokens_per_tile: int,
        context: int,
        overflow: str,
    ) -> None:
        self.tokenizer, self.template, self.tiling = tokenizer, template, tiling
        self.tokens_per_tile, self.context, self.overflow = tokens_per_tile, context, overflow

    def tokens_for(self, size: tuple[int, int]) -> int:
        """Tokens that a picture of `size` (width, height) takes."""
        return self.tiling.plan(size).tiles * self.tokens_per_tile

    def __call__(self, sample: Sample, reply: Role | None = None) -> LaidOut:
        """Lay a sample out; with `reply`, leave a turn of that role open for the model to write."""
        writer = _Writer(self, sample)
        for turn in sample.turns():
            writer.turn(turn)
        if reply is not None:
            writer.mark(self.template.turn(reply).prefix, supervised=False)
        return self._fit(writer.finish(), reply)

    def _fit(self, laid: LaidOut, reply: Role | None) -> LaidOut:
        if len(laid) <= self.context:
            return laid
        if reply is not None:
            raise LayoutError(
                f"{laid.sample.name}: the prompt takes {len(laid)} tokens and the context is {self.context}; shorten it"
            )
        if self.overflow == "refuse":
            raise LayoutError(
                f"{laid.sample.name}: {len(laid)} tokens do not fit the context of {self.context}; shorten the sample, "
                "raise model.context, or set model.overflow=truncate"
            )
        return truncate(laid, self.context)


def truncate(laid: LaidOut, limit: int) -> LaidOut:
    """Keep the first `limit` tokens; a picture or frame that would be cut is dropped, with all that follows it."""
    for span in laid.spans:
        if span.start < limit < span.start + span.length:
            limit = span.start
    spans = tuple(span for span in laid.spans if span.start + span.length <= limit)
    return replace(laid, ids=laid.ids[:limit], supervised=laid.supervised[:limit], spans=spans)


class _Writer:
    def __init__(self, layout: Layout, sample: Sample) -> None:
        self.layout, self.sample = layout, sample
        self.ids: list[int] = []
        self.supervised: list[bool] = []
        self.spans: list[MediaSpan] = []

    def turn(self, segments: Sequence[Segment]) -> None:
        marks = self.layout.template.turn(segments[0].role)
        self.mark(marks.prefix, supervised=False)
        for segment in segments:
            if isinstance(segment, Text | Table):
                self.text(segment)
            elif isinstance(segment, Image):
                self.image(segment)
            elif isinstance(segment, Video):
                for frame in video_frames(segment, segment.id or self.sample.name):
                    self.image(Image(frame, id=frame.name))
            else:
                raise LayoutError(f"{self.sample.name}: no encoder reads a {type(segment).__name__} segment here")
        self.mark(marks.end, supervised=segments[-1].supervise)
        self.mark(marks.after, supervised=False)

    def mark(self, text: str, supervised: bool) -> None:
        self._extend(self.layout.tokenizer.markers(text), supervised)

    def text(self, segment: Text | Table) -> None:
        text, placeholder = text_of(segment, self.sample.name), self.layout.template.image
        if placeholder in text:
            raise LayoutError(
                f"{self.sample.name}: the text {text[:60]!r} holds the placeholder {placeholder!r} without a "
                "picture; give the picture as an Image segment and leave the placeholder out"
            )
        self._extend(self.layout.tokenizer.encode(text), segment.supervise)

    def image(self, segment: Image) -> None:
        plan = self.layout.tiling.plan(picture_size(segment.source, segment.id or self.sample.name))
        length = plan.tiles * self.layout.tokens_per_tile
        self.spans.append(MediaSpan(len(self.ids), length, segment, plan))
        self._extend((self.layout.tokenizer.pad_id,) * length, False)

    def _extend(self, ids: tuple[int, ...], supervised: bool) -> None:
        self.ids.extend(ids)
        self.supervised.extend([supervised] * len(ids))

    def finish(self) -> LaidOut:
        if not self.ids:
            raise LayoutError(f"{self.sample.name}: the sample has no segments; give it text or a picture")
        return LaidOut(self.sample, np.array(self.ids), np.array(self.supervised), tuple(self.spans))
