"""What holds of the model itself: who sees whom, where gradients go, that its short cuts change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sensorium.backbones.backbone import Attention
from sensorium.checks.check import check
from sensorium.checks.finding import require
from sensorium.checks.subject import Subject, media_of
from sensorium.data.batch import Batch, collate
from sensorium.generation.engine import Sampler, stream
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.recipe import Stage
from sensorium.sample import Sample, Text
from sensorium.training.checkpoint import load_model
from sensorium.training.optimisation import autocast, precision, set_trainable
from sensorium.training.stage_run import StageRun

NEW_TOKENS = 8


@check("leak")
@torch.no_grad()
def leak(subject: Subject) -> str:
    """No leak between packed samples: change one, text and picture, and the others' logits stay bit-identical."""
    documents, batch = subject.packed()
    width, distinct = subject.base.config.backbone.dim, dict[tuple[torch.dtype, frozenset[str]], Stage]()
    for stage in subject.small.stages:
        distinct.setdefault((precision(stage, torch.device("cpu"), width), frozenset(stage.trainable)), stage)
    for (dtype, _), stage in distinct.items():
        forms = []
        for mask_only in (False, True):
            model = subject.twin(awake=True)
            if mask_only:
                _mask_only(model)
            set_trainable(model, stage)  # as in training: statistics over the batch would be a leak
            forms.append(_given(model, batch))
            before = _given(model, batch, dtype)
            for number in range(len(documents)):
                _isolated(model, documents, batch, number, before, dtype, f"stage '{stage.name}'")
        for one, other in zip(*forms, strict=True):
            apart = float((one.values - other.values).abs().max() / one.values.abs().max())
            what = f"stage '{stage.name}': attention by its mask alone, as on a GPU, differs by {apart:.1e}"
            require(apart < 1e-4, what)
    pictures = sum(bool(laid.spans) for laid in documents)
    return f"{len(documents)} samples in a row, {pictures} with pictures: each changed, the others bit-identical"


def _mask_only(model: Model) -> None:
    """Let the backbone see the attention mask and none of the other forms in which kernels may want the same."""
    attention = model.fusion.attention
    model.fusion.attention = lambda batch: Attention(attention(batch).mask)


def _isolated(
    model: Model,
    documents: Sequence[LaidOut],
    batch: Batch,
    number: int,
    before: list[Given],
    dtype: torch.dtype,
    where: str,
) -> None:
    """Change the text, then the pictures of one of the packed samples; its own logits (or embeddings) move and no
    others do."""
    start, own = sum(map(len, documents[:number])), torch.zeros_like(batch.media)
    own[0, start : start + len(documents[number])] = True
    text, picture = _changed(batch, own, media_of(documents, number), model.tokenizer.vocab_size)
    for what, changed in [("text", text)] + ([("picture", picture)] if documents[number].spans else []):
        after, name = _given(model, changed, dtype), f"{where}: the {what} of sample {number + 1} of {len(documents)}"
        moved = [one.owners[(one.values != other.values).any(-1)] for one, other in zip(before, after, strict=True)]
        mine = [int((owners == number + 1).sum()) for owners in moved]
        require(any(mine), f"{name} does not reach its own logits")
        strange = sum(len(owners) for owners in moved) - sum(mine)
        require(not strange, f"{name} changes the logits of {strange} tokens of the others")


class Given(NamedTuple):
    """Something that a model gives for a row of packed samples."""

    values: Tensor
    """`[n, k]`: logits of tokens, or embeddings"""
    owners: Tensor
    """int64 `[n]`: the number of the sample in the row that each belongs to"""


def _given(model: Model, batch: Batch, dtype: torch.dtype = torch.float32) -> list[Given]:
    """All that leaves a model: logits, if it writes, and embeddings, if it makes them."""
    torch.manual_seed(0)
    found = []
    with autocast(dtype, torch.device("cpu")):
        if model.head.writes:
            found.append(Given(model.head(model(batch))[0], batch.documents[0]))
        if model.head.embeds:
            _, *embedded = model.embed_batch(batch)
            found += [Given(one.vectors, one.samples) for one in embedded if len(one.samples)]
    return found


def _changed(batch: Batch, own: Tensor, pictures: slice, vocab: int) -> tuple[Batch, Batch]:
    """The batch with other text, and with other pictures, in one sample."""
    ids, tiles = torch.where(own & ~batch.media, (batch.ids + 1) % vocab, batch.ids), batch.tiles.clone()
    shown = tiles[pictures]
    tiles[pictures] = shown / 2 if shown.is_floating_point() else 255 - shown
    return replace(batch, ids=ids), replace(batch, tiles=tiles)


@check("no-images")
def no_images(subject: Subject) -> str:
    """A batch without images works, and gives encoder and connector zero gradients, not none."""
    _, batch = subject.packed(blind=True)
    require(not len(batch.tiles), f"{len(batch.tiles)} tiles in a batch without pictures")
    count, tried = 0, False
    for number in range(len(subject.small.stages)):
        run = subject.run(number)
        if run.objective.needs_pictures:
            continue
        tried = True
        run.accumulate([batch])
        for part in (run.model.encoder, run.model.connector):
            for name, weight in part.named_parameters():
                if weight.requires_grad:
                    where, count = f"stage '{run.stage.name}': {type(part).__name__}.{name}", count + 1
                    require(
                        weight.grad is not None, f"{where} has no gradient: beside others with images it would hang"
                    )
                    require(not weight.grad.any(), f"{where} has a gradient without images")  # type: ignore[union-attr]
    if not tried:
        return "not applicable: no stage learns from text alone"
    return f"a batch of text trained, with zero gradients for {count} tensors of encoder and connector"


@check("gradients")
def gradients(subject: Subject) -> str:
    """The gradient reaches exactly what is trainable, and the optimiser holds exactly that."""
    counts, dark, lit = [], dict[str, str](), set[str]()
    for number, stage in enumerate(subject.small.stages):
        model = subject.twin(awake=True)
        subject.reconfigure(model, number)
        run = StageRun(subject.small, number, model, subject.folder)
        batches = run.loader.next_step()
        run.accumulate(batches)
        wanted = {id(p) for name in stage.trainable for p in getattr(model, name).parameters()}
        held = [id(p) for group in run.optimiser.param_groups for p in group["params"]]
        where = f"stage '{stage.name}'"
        require(len(held) == len(set(held)) and set(held) == wanted, f"{where}: the optimiser holds other parameters")
        silent = not any(len(batch.tiles) for batch in batches)
        for name, weight in model.named_parameters():
            if id(weight) not in wanted:
                require(weight.grad is None, f"{where}: {name} is frozen and has a gradient")
                continue
            found = "no gradient" if weight.grad is None else "a gradient that is zero everywhere"
            reached = weight.grad is not None and (
                bool(weight.grad.any()) or (silent and not name.startswith("backbone"))
            )
            what = f"{where}: {name} is trainable and gets {found}; is it used?"
            require(reached or run.objective.partial, what)
            if reached:
                lit.add(name)
            else:
                dark[name] = what
        counts.append(f"{stage.name} {len(wanted)} tensors")
    for name, what in dark.items():
        require(name in lit, what)
    return "; ".join(counts)


@check("cached-generation")
@torch.inference_mode()
def cached_generation(subject: Subject) -> str:
    """Cached generation equals uncached: the same greedy tokens, logits within 1e-4."""
    model = subject.twin(awake=True)
    if not model.head.writes:
        return "not applicable: the model writes no text"
    model.config, model.layout = subject.base.config, subject.base.layout
    prompts = [subject.unbounded(_prompt(laid.sample), reply="assistant") for laid in subject.short]
    prompts = [prompt for prompt in prompts if len(prompt) + NEW_TOKENS <= model.config.context]
    if not prompts:
        return f"not applicable: no prompt leaves room for {NEW_TOKENS} tokens"
    opened = [min(prompts, key=len), max(prompts, key=lambda prompt: (bool(prompt.spans), len(prompt)))]
    recorder = Recorder(model)
    for _ in stream(model, opened, NEW_TOKENS, recorder):
        pass
    worst = 0.0
    for row, one in enumerate(opened):
        tokens = torch.stack([chosen[row] for chosen in recorder.chosen])
        cached = torch.stack([logits[row] for logits in recorder.logits])
        uncached = _teacher_forced(model, one, tokens)
        worst = max(worst, float((cached - uncached).abs().max() / uncached.abs().max().clamp(min=1)))
        require(worst < 1e-4, f"{one.sample.name}: logits with and without the cache differ by {worst:.1e}")
        free = recorder.pick(uncached)
        best = uncached.gather(-1, free[:, None]) - uncached.gather(-1, tokens[:, None])
        require(bool((best < 1e-3).all()), f"{one.sample.name}: cached {tokens.tolist()}, uncached {free.tolist()}")
    lengths = " and ".join(str(len(one)) for one in opened)
    return f"{NEW_TOKENS} tokens after prompts of {lengths} tokens in one batch, greatest difference {worst:.0e}"


def _prompt(sample: Sample) -> Sample:
    """The sample up to what it supervises."""
    segments = sample.segments
    first = next(i for i, segment in enumerate(segments) if segment.supervise)
    return replace(sample, segments=tuple(segments[: max(1, first)]))


class Recorder(Sampler):
    """Greedy, keeps the logits, and never ends a reply."""

    def __init__(self, model: Model) -> None:
        super().__init__(0.0, 1.0, 0, model.device)
        self.stop = list(model.tokenizer.markers(model.config.template.assistant.end)[:1])
        self.logits: list[Tensor] = []
        self.chosen: list[Tensor] = []

    def pick(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(self.stop, dtype=torch.long), -torch.inf).argmax(-1)

    def __call__(self, logits: Tensor) -> Tensor:
        self.logits.append(logits)
        self.chosen.append(self.pick(logits))
        return self.chosen[-1]


def _teacher_forced(model: Model, prompt: LaidOut, tokens: Tensor) -> Tensor:
    """Logits `[tokens, vocab]` at each step of the reply, from one pass over prompt and reply together."""
    whole = replace(
        prompt,
        ids=np.concatenate([prompt.ids, tokens.numpy()]),
        supervised=np.arange(len(prompt) + len(tokens)) >= len(prompt),
        media=np.concatenate([prompt.media, np.zeros(len(tokens), dtype=bool)]),
    )
    hidden = model(collate([[whole]], model.layout))[0]
    return model.head(hidden[len(prompt) - 1 : -1]).float()


@check("checkpoint")
@torch.inference_mode()
def checkpoint(subject: Subject) -> str:
    """Saved and loaded, a model gives the same logits, bit for bit."""
    model, (_, batch) = subject.twin(awake=True), subject.packed()
    folder = subject.folder / "saved"
    model.save(folder)
    loaded = load_model(folder)
    require(loaded.config == model.config, "the loaded model has another config")
    texts = [s.text for laid in subject.short[:8] for s in laid.sample.segments if isinstance(s, Text)]
    for text in texts:
        require(loaded.tokenizer.encode(text) == model.tokenizer.encode(text), f"{text[:60]!r} has other tokens now")
    for one, other in zip(_given(model, batch), _given(loaded, batch), strict=True):
        different = int((one.values != other.values).any(-1).sum())
        require(not different, f"{different} of {len(one.values)} logits or embeddings are others after loading")
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{size / 1e6:.1f} MB written and read, {batch.real_tokens} tokens bit-identical"
