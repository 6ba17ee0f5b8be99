"""The single owner of token accounting: sample x model config -> token ids, spans, labels.

Nothing else in the project knows how many tokens a picture takes or which tokens the loss sees. The layout needs no
weights, so loader workers and `sensorium check` use the same object as training, generation and evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.assembly.assembly import Assembly, Pieces, TileTokens
from sensorium.data.tables import text_of
from sensorium.data.tiling import Cut, Tiling
from sensorium.data.video import video_frames
from sensorium.errors import DataError, LayoutError
from sensorium.fusion.fusion import Fusion
from sensorium.laid_out import LaidOut, MediaSpan, truncate
from sensorium.sample import Audio, Image, Role, Sample, Segment, Table, Text, Video
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class MediaRule:
    """What a model makes of a picture: how many features, and what stands for them in the text. `tile` is what its
    encoder and connector announce together."""

    assembly: Assembly.Config
    fusion: Fusion.Config
    tile: TileTokens

    def features(self, cut: Cut) -> int:
        return sum(piece for piece in self.assembly.pieces(cut, self.tile) if isinstance(piece, int))

    def written(self, cut: Cut, template: ChatTemplate) -> Pieces:
        pieces = self.fusion.written(self.assembly.pieces(cut, self.tile), template)
        return [mark for mark in (template.before_image, *pieces, template.after_image) if mark]


class Layout:
    """Lays samples out for one model, whose pictures are worth what `media` says."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        tiling: Tiling,
        media: MediaRule,
        context: int,
        overflow: str,
    ) -> None:
        self.tokenizer, self.template, self.tiling = tokenizer, template, tiling
        self.media, self.context, self.overflow = media, context, overflow

    def cut(self, size: tuple[int, int]) -> Cut:
        """How a picture of `size` (width, height), or a sound of (samples, 1), is cut."""
        return Cut(size, self.tiling.plan(size))

    def tokens_for(self, size: tuple[int, int]) -> int:
        """Tokens that a picture of `size` (width, height), or a sound of (samples, 1), takes in the sequence."""
        pieces = self.media.written(self.cut(size), self.template)
        return sum(piece if isinstance(piece, int) else len(self.tokenizer.markers(piece)) for piece in pieces)

    def __call__(self, sample: Sample, reply: Role | None = None) -> LaidOut:
        """Lay a sample out; with `reply`, leave a turn of that role open for the model to write."""
        writer = _Writer(self, sample)
        for number, turn in enumerate(self.template.opened(sample).turns()):
            if not number and turn[0].role != "document":
                writer.mark(self.template.begin, supervised=False)
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


class _Writer:
    def __init__(self, layout: Layout, sample: Sample) -> None:
        self.layout, self.sample = layout, sample
        self.ids: list[int] = []
        self.supervised: list[bool] = []
        self.media: list[bool] = []
        self.spans: list[MediaSpan] = []

    def turn(self, segments: Sequence[Segment]) -> None:
        marks, start = self.layout.template.turn(segments[0].role), len(self.ids)
        self.mark(marks.prefix, supervised=False)
        for segment in segments:
            if isinstance(segment, Text | Table):
                self.text(segment)
            elif isinstance(segment, Image | Audio) and isinstance(segment, self.layout.tiling.reads):
                self.end_chunk()
                self.medium(segment)
            elif isinstance(segment, Video) and self.layout.tiling.reads is Image:
                self.end_chunk()
                for frame in video_frames(segment, segment.id or self.sample.name):
                    self.medium(Image(frame, id=frame.name))
            else:
                raise LayoutError(f"{self.sample.name}: no encoder reads a {type(segment).__name__} segment here")
        self.mark(marks.end, supervised=segments[-1].supervise)
        self.mark(marks.after, supervised=False)
        missing = (marks.length or 0) - (len(self.ids) - start)
        self._extend((self.layout.tokenizer.pad_id,) * missing, supervised=False)

    def mark(self, text: str, supervised: bool) -> None:
        self._extend(self.layout.tokenizer.markers(text), supervised)

    def end_chunk(self) -> None:
        """What is written before every picture but the first."""
        if self.spans:
            self.mark(self.layout.template.end_of_chunk, supervised=self.supervised[-1])

    def text(self, segment: Text | Table) -> None:
        text, placeholder = text_of(segment, self.sample.name), self.layout.template.image
        if placeholder in text:
            raise LayoutError(
                f"{self.sample.name}: the text {text[:60]!r} holds the placeholder {placeholder!r} without a "
                "picture; give the picture as an Image segment and leave the placeholder out"
            )
        self._extend(self.layout.tokenizer.encode(text), segment.supervise)

    def medium(self, segment: Image | Audio) -> None:
        name = segment.id or self.sample.name
        size = self.layout.tiling.size_of(segment, name)
        try:
            cut = self.layout.cut(size)
        except DataError as error:
            raise LayoutError(f"{name}: {error}") from None
        start = len(self.ids)
        for piece in self.layout.media.written(cut, self.layout.template):
            if isinstance(piece, str):
                self.mark(piece, supervised=False)
            else:
                self._extend((self.layout.tokenizer.pad_id,) * piece, False, media=True)
        stands = start + len(self.layout.tokenizer.markers(self.layout.template.before_image))
        features = self.layout.media.features(cut)
        self.spans.append(MediaSpan(start, len(self.ids) - start, segment, cut, features, stands))

    def _extend(self, ids: tuple[int, ...], supervised: bool, media: bool = False) -> None:
        self.ids.extend(ids)
        self.supervised.extend([supervised] * len(ids))
        self.media.extend([media] * len(ids))

    def finish(self) -> LaidOut:
        if not self.ids:
            raise LayoutError(f"{self.sample.name}: the sample has no segments; give it text or a picture")
        ids, supervised, media = (np.array(column) for column in (self.ids, self.supervised, self.media))
        return LaidOut(self.sample, ids, supervised, media, tuple(self.spans))
