"""What can be known of samples before any training: tokens, labels, truncation."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from sensorium.checks.check import check
from sensorium.checks.finding import CheckFailed, require
from sensorium.checks.oracle import Oracle
from sensorium.checks.subject import Subject
from sensorium.data.batch import collate
from sensorium.data.mixture import Mixture
from sensorium.data.packer import Packer
from sensorium.data.quarantine import Refusal
from sensorium.data.tables import text_of
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut
from sensorium.layout import Layout
from sensorium.objectives.next_token import NextToken
from sensorium.sample import Audio, Image, Sample, Table, Text, Video

PICTURES = 6
"""Pictures that are decoded and encoded; all others are only counted."""


@check("token-count")
def token_count(subject: Subject) -> str:
    """One token count everywhere: layout, spans, what encoder and connector announce, and what they give."""
    layout = subject.unbounded
    for laid in map(layout, subject.samples):
        tokens = sum(_text_tokens(layout, laid)) + sum(_chunk_ends(layout, laid))
        for span in laid.spans:
            need = layout.tokens_for(layout.tiling.size_of(span.segment, laid.sample.name))
            require(
                span.length == need and span.features == layout.media.features(span.cut),
                f"{laid.sample.name}: a span of {span.length} tokens for a picture that takes {need}",
            )
            require(
                span.cut.plan.tiles <= layout.tiling.config.max_tiles, f"{laid.sample.name}: more tiles than max_tiles"
            )
            tokens += need
        require(tokens == len(laid), f"{laid.sample.name}: {len(laid)} tokens laid out, {tokens} counted")
    pictures = [(laid, number) for laid in subject.laid for number in range(len(laid.spans))]
    chosen = {laid.spans[number].cut.plan: (laid, number) for laid, number in pictures}
    for laid, number in [*chosen.values(), *pictures][:PICTURES]:
        _rows_match(subject, laid, number)
    if not pictures:
        return f"{len(subject.laid)} samples counted; no pictures in the data"
    return f"{len(pictures)} pictures counted, {min(PICTURES, len(pictures) + len(chosen))} encoded"


def _text_tokens(layout: Layout, laid: LaidOut) -> list[int]:
    """Tokens of each text and each mark of a sample, counted from its segments."""
    counts = []
    if laid.sample.segments[0].role != "document":
        counts.append(len(layout.tokenizer.markers(layout.template.begin)))
    for turn in layout.template.opened(laid.sample).turns():
        marks = layout.template.turn(turn[0].role)
        texts = [text_of(segment) for segment in turn if isinstance(segment, Text | Table)]
        tokens = [len(layout.tokenizer.markers(mark)) for mark in (marks.prefix, marks.end, marks.after)]
        tokens += [len(layout.tokenizer.encode(text)) for text in texts]
        reads, name = layout.tiling.reads, laid.sample.name
        pictures = [layout.tiling.size_of(s, name) for s in turn if isinstance(s, reads)] if marks.length else []
        filled = (marks.length or 0) - sum(tokens) - sum(map(layout.tokens_for, pictures))
        counts += [*tokens, max(0, filled)]
    return counts


def _media(laid: LaidOut) -> list[int]:
    """The places of all pictures, videos and sounds but the first among a sample's segments."""
    return [place for place, s in enumerate(laid.sample.segments) if isinstance(s, Image | Video | Audio)][1:]


def _chunk_ends(layout: Layout, laid: LaidOut) -> list[int]:
    """Tokens of the marks that end the text before each of them."""
    return [len(layout.tokenizer.markers(layout.template.end_of_chunk))] * len(_media(laid))


@torch.inference_mode()
def _rows_match(subject: Subject, laid: LaidOut, number: int) -> None:
    """A picture's span is as long as what encoder and connector make of its real tiles."""
    model, name = subject.base, laid.sample.name
    # As the model cuts it: the stage that the sample is from may cut in a way of its own.
    tiling, only = model.layout.tiling, Sample((laid.spans[number].segment,), id=name)
    span = model.layout(only).spans[0]
    sizes = [tiling.measured(opened) for opened in tiling.opened(only.segments, name)]
    require(sizes == [span.cut.size], f"{name}: the header says {span.cut.size}, decoded it is {sizes}")
    batch = collate([[model.layout(only)]], model.layout)
    require(
        len(batch.tiles) == span.cut.plan.tiles, f"{name}: {len(batch.tiles)} tiles cut, not as planned: {span.cut}"
    )
    features = model.encoder.features(batch.tiles, batch.pictures)
    announced = (len(batch.tiles), model.config.encoder.tokens, model.config.encoder.dim)
    require(features.shape == announced, f"the encoder announces {announced} and gives {tuple(features.shape)}")
    media, wanted = model.media(batch), (span.features, model.config.media_dim)
    require(media.shape == wanted, f"{name}: {wanted[0]} features of {wanted[1]} laid out, {list(media.shape)} given")


@check("labels")
def labels(subject: Subject) -> str:
    """Labels are where they should be: what the loss wants predicted is the supervised text, and nothing else."""
    tokenizer, tokens, lossy = subject.base.tokenizer, 0, 0
    for laid in map(subject.unbounded, subject.samples):
        texts = [text_of(s) for s in laid.sample.segments if isinstance(s, Text | Table) and s.supervise]
        wanted = [token for text in texts for token in tokenizer.encode(text)]
        found = tokenizer.decode(laid.ids[laid.supervised].tolist())
        name = laid.sample.name
        require(found == tokenizer.decode(wanted), f"{name}: supervised is {found[:80]!r}, the segments say {texts}")
        count, ends = int(laid.supervised.sum()), _ends(subject.unbounded, laid)
        what = f"{len(wanted)} of {texts} and the {ends} that end their turns"
        require(count == len(wanted) + ends, f"{name}: {count} tokens are supervised, not the {what}")
        lossy += any(tokenizer.decode(list(tokenizer.encode(text))).strip() != text.strip() for text in texts)
        tokens += count
    for number, stage in enumerate(subject.recipe.stages):
        writing = stage.objective.build().writing
        if isinstance(writing, NextToken):
            _shift(subject, writing, number)
    note = f"; {lossy} samples have text the tokenizer cannot write back exactly" if lossy else ""
    return f"{tokens} supervised tokens in {len(subject.samples)} samples are the segments' text{note}"


def _ends(layout: Layout, laid: LaidOut) -> int:
    """Tokens of the marks that close supervised turns."""
    segments = laid.sample.segments
    closing = [a for a, b in zip(segments, (*segments[1:], None), strict=True) if b is None or b.role != a.role]
    turns = sum(len(layout.tokenizer.markers(layout.template.turn(s.role).end)) for s in closing if s.supervise)
    return turns + sum(_chunk_ends(layout, laid)[:1]) * sum(segments[at - 1].supervise for at in _media(laid))


def _shift(subject: Subject, objective: NextToken, number: int) -> None:
    """A model that knows the next token exactly where one is supervised, and errs everywhere else, has no loss."""
    rows = [subject.laid[:3], subject.laid[3:4]]
    rows = [row for row in rows if row]
    batch = collate(rows, subject.base.layout)
    oracle = Oracle(rows, subject.base.tokenizer.vocab_size)
    loss = objective(oracle, batch)
    where = f"stage '{subject.recipe.stages[number].name}'"
    require(loss.count == oracle.count, f"{where}: the loss has {loss.count} terms, {oracle.count} are supervised")
    mean = float(loss.total) / loss.count
    require(mean < 1e-2, f"{where}: a model that predicts every supervised token has a loss of {mean:.2f}, not 0")


@check("nothing-supervised")
def nothing_supervised(subject: Subject) -> str:
    """A batch with nothing supervised is refused, as data and as a training step."""
    laid = subject.short[0]
    silent = replace(laid.sample, segments=tuple(replace(s, supervise=False) for s in laid.sample.segments))
    refused: list[Refusal] = []
    packer = Packer(Mixture([[silent]], [1.0], 0, limits=[1]), subject.base.layout, 10**6, 1, refused.append)
    taken = packer.next_pack()
    require(taken is None and len(refused) == 1, "the packer took a sample with nothing supervised")
    mute = replace(laid, supervised=np.zeros_like(laid.supervised))
    batch = collate([[mute]], subject.base.layout)
    for number, stage in enumerate(subject.small.stages):
        what = f"stage '{stage.name}': a training step with nothing supervised was taken"
        _refused(partial(subject.run(number).accumulate, [batch]), what)
    return "refused by the packer and by the trainer"


def _refused(attempt, found: str) -> None:
    try:
        attempt()
    except DataError:
        return
    raise CheckFailed(found)


@check("truncation")
def truncation(subject: Subject) -> str:
    """Images are atomic under truncation: a picture is in a cut sample whole or not at all."""
    cuts, layout = 0, subject.base.layout
    for laid in [laid for laid in subject.laid if laid.spans][:PICTURES]:
        for span in laid.spans:
            for limit in {span.start + 1, span.start + span.length // 2, span.start + span.length - 1, len(laid) - 1}:
                if 0 < limit < len(laid):
                    _atomic(layout, laid, limit)
                    cuts += 1
    return f"{cuts} cuts, none through a picture" if cuts else "not applicable: no pictures in the data"


def _atomic(layout: Layout, laid: LaidOut, limit: int) -> None:
    name = f"{laid.sample.name} cut at {limit}"
    narrow = copy(layout)
    narrow.context, narrow.overflow = limit, "truncate"
    cut = narrow(laid.sample)
    require(len(cut) <= limit, f"{name}: {len(cut)} tokens are left")
    require(bool((cut.ids == laid.ids[: len(cut)]).all()), f"{name}: the tokens before the cut changed")
    begun = [span for span in laid.spans if span.start + min(span.length, 1) <= len(cut)]  # some take no place
    require(len(cut.spans) == len(begun), f"{name}: {len(begun)} pictures begun, {len(cut.spans)} kept")
    ends = [span.start + span.length for span in begun]
    require(max(ends, default=0) <= len(cut), f"{name}: {max(ends, default=0) - len(cut)} tokens of a picture are gone")
