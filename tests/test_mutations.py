"""Who checks the checks: things are broken one by one, and the check in charge must notice."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toy import toy_recipe

from sensorium import layout as layouts
from sensorium.assembly.assembly import Assembly, TileTokens
from sensorium.backbones.backbone import Attention
from sensorium.backbones.decoder import Decoder
from sensorium.checks import run_checks
from sensorium.connectors.perceiver import Perceiver
from sensorium.data.batch import Batch, collate
from sensorium.data.mixture import Key, Mixture
from sensorium.data.packer import Pack, Packer
from sensorium.data.tiling import Cut
from sensorium.data.tilings.grid import Grid
from sensorium.encoders.vit import ViT
from sensorium.laid_out import LaidOut, truncate
from sensorium.layout import Layout
from sensorium.model import Model
from sensorium.objectives.next_token import NextToken, predicting
from sensorium.objectives.objective import Loss
from sensorium.training import checkpoint, progress
from sensorium.training.optimisation import make_optimiser, set_trainable
from sensorium.training.stage_run import StageRun

Patch = pytest.MonkeyPatch
MUTATIONS: list[tuple[str, str, Callable[[Patch], None]]] = []


def breaks(*checks: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a mutation and the checks that must notice it."""

    def register(mutation: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTATIONS.extend((mutation.__name__, check, mutation) for check in checks)
        return mutation

    return register


def everywhere(patch: Patch, original: Any, mutant: Any) -> None:
    """Replace a function under every name by which a module of the library knows it."""
    for module in [m for name, m in sys.modules.items() if name.startswith("sensorium")]:
        for name, value in list(vars(module).items()):
            if value is original:
                patch.setattr(module, name, mutant)


def after(patch: Patch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Let `change(result, *arguments)` stand for what a method returns."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(original(*args, **kwargs), *args))


# who sees whom


@breaks("leak")
def attention_is_plain_causal(patch: Patch) -> None:
    within = Attention.within
    patch.setattr(Attention, "within", classmethod(lambda cls, documents: within(torch.ones_like(documents))))


@breaks("leak")
def only_the_mask_form_forgets_documents(patch: Patch) -> None:
    within = Attention.within
    patch.setattr(
        Attention,
        "within",
        classmethod(lambda cls, d: replace(within(d), mask=within(torch.ones_like(d)).mask)),
    )


@breaks("cached-generation")
def attention_sees_the_future(patch: Patch) -> None:
    def both_ways(cls: type, documents: torch.Tensor) -> Attention:
        return Attention((documents[:, :, None] == documents[:, None, :])[:, None])

    patch.setattr(Attention, "within", classmethod(both_ways))


@breaks("leak")
def encoder_subtracts_the_mean_of_the_batch(patch: Patch) -> None:
    after(patch, ViT, "forward", lambda features, *_: features - features.mean(0, keepdim=True))


@breaks("leak")
def pictures_are_ignored(patch: Patch) -> None:
    after(patch, Perceiver, "forward", lambda media, *_: media * 0)


# labels


@breaks("labels", "overfit")
def labels_are_not_shifted(patch: Patch) -> None:
    def unshifted(self: NextToken, model: Any, batch: Batch) -> Loss:
        rows, places = predicting(batch)
        logits = model.head(model(batch)[rows, places + 1]).float()
        return Loss(F.cross_entropy(logits, batch.ids[rows, places + 1], reduction="sum"), len(rows))

    patch.setattr(NextToken, "__call__", unshifted)


@breaks("labels", "overfit")
def labels_are_shifted_twice(patch: Patch) -> None:
    def twice(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        rows, places = predicting(batch)
        return rows, (places + 1).clamp(max=batch.ids.shape[1] - 2)

    everywhere(patch, predicting, twice)


@breaks("labels")
def the_loss_sees_every_token(patch: Patch) -> None:
    everywhere(patch, predicting, lambda batch: predicting(replace(batch, supervised=batch.documents > 0)))


@breaks("labels")
def the_prompt_is_supervised(patch: Patch) -> None:
    text = layouts._Writer.text
    patch.setattr(layouts._Writer, "text", lambda self, segment: text(self, replace(segment, supervise=True)))


@breaks("labels")
def supervision_is_off_by_one_in_the_layout(patch: Patch) -> None:
    shifted = lambda laid, *_: replace(laid, supervised=torch.from_numpy(laid.supervised).roll(1).numpy())  # noqa: E731
    after(patch, layouts._Writer, "finish", shifted)


@breaks("labels")
def the_end_of_a_turn_is_not_supervised(patch: Patch) -> None:
    mark = layouts._Writer.mark
    patch.setattr(layouts._Writer, "mark", lambda self, text, supervised: mark(self, text, False))


@breaks("nothing-supervised")
def the_packer_takes_silent_samples(patch: Patch) -> None:
    patch.setattr(Packer, "lay", lambda self, key: self.layout(self.mixture.read(key)))


@breaks("nothing-supervised")
def the_trainer_takes_silent_batches(patch: Patch) -> None:
    patch.setattr(StageRun, "accumulate", lambda self, batches: (0.0, 0))


@breaks("overfit")
def the_prompt_at_generation_is_not_that_of_training(patch: Patch) -> None:
    lay = Layout.__call__
    patch.setattr(Layout, "__call__", lambda self, sample, reply=None: lay(self, sample, reply and "system"))


# token counts and pictures


@breaks("token-count")
def the_connector_announces_one_more(patch: Patch) -> None:
    after(patch, Perceiver.Config, "out_tokens", lambda tokens, *_: tokens + 1)


@breaks("token-count")
def the_connector_announces_one_fewer(patch: Patch) -> None:
    after(patch, Perceiver.Config, "out_tokens", lambda tokens, *_: tokens - 1)


@breaks("token-count")
def the_layout_counts_one_more(patch: Patch) -> None:
    after(patch, Layout, "tokens_for", lambda tokens, *_: tokens + 1)


@breaks("token-count")
def the_assembly_forgets_the_thumbnail(patch: Patch) -> None:
    def without(pieces: Any, config: Any, cut: Cut, tile: TileTokens) -> Any:
        return [pieces[0] - cut.plan.thumbnail * tile.tokens]

    after(patch, Assembly.Config, "pieces", without)


@breaks("token-count")
def the_tiling_cuts_one_tile_fewer(patch: Patch) -> None:
    after(patch, Grid, "cut", lambda tiles, *_: tiles[1:] if len(tiles) > 1 else tiles)


@breaks("truncation")
def truncation_cuts_pictures(patch: Patch) -> None:
    def blunt(laid: LaidOut, limit: int) -> LaidOut:
        spans = tuple(span for span in laid.spans if span.start + span.length <= limit)
        return laid.first(limit, spans)

    everywhere(patch, truncate, blunt)


@breaks("truncation")
def truncation_keeps_the_span_of_a_cut_picture(patch: Patch) -> None:
    def blunt(laid: LaidOut, limit: int) -> LaidOut:
        spans = tuple(span for span in laid.spans if span.start < limit)
        return laid.first(limit, spans)

    everywhere(patch, truncate, blunt)


# packing and order


def recollated(patch: Patch, change: Callable[[Batch], Batch]) -> None:
    everywhere(patch, collate, lambda *args, **kwargs: change(collate(*args, **kwargs)))


@breaks("packing", "leak")
def all_samples_of_a_row_have_one_number(patch: Patch) -> None:
    recollated(patch, lambda batch: replace(batch, documents=(batch.documents > 0).long()))


@breaks("packing")
def positions_do_not_restart(patch: Patch) -> None:
    recollated(patch, lambda b: replace(b, positions=torch.arange(b.ids.shape[1]).expand(b.ids.shape)))


@breaks("packing")
def the_packer_loses_a_sample(patch: Patch) -> None:
    after(patch, Packer, "next_pack", lambda pack, *_: replace(pack, laid=pack.laid[:-1] or pack.laid))


@breaks("packing")
def the_packer_doubles_a_sample(patch: Patch) -> None:
    after(patch, Packer, "next_pack", lambda pack, *_: replace(pack, laid=[*pack.laid, pack.laid[0]]))


@breaks("packing")
def the_packer_cuts_a_sample(patch: Patch) -> None:
    def shorter(pack: Pack, *_: Any) -> Pack:
        *before, last = pack.laid
        return replace(pack, laid=[*before, truncate(last, len(last) - 1)])

    after(patch, Packer, "next_pack", shorter)


@breaks("determinism")
def order_depends_on_the_clock(patch: Patch) -> None:
    after(patch, Mixture, "next_key", lambda key, *_: Key(key.source, (key.index + time.time_ns() // 1000) % 60))


@breaks("determinism")
def order_depends_on_the_global_dice(patch: Patch) -> None:
    after(patch, Mixture, "next_key", lambda key, *_: Key(key.source, (key.index + random.randrange(60)) % 60))


# training


@breaks("accumulation")
def each_micro_batch_divides_by_its_own_count(patch: Patch) -> None:
    def local(self: StageRun, batch: Batch, count: int) -> float:
        loss = self.objective(self.model, batch)
        (loss.total / loss.count / len(batch.ids)).backward()
        return float(loss.total.detach())

    patch.setattr(StageRun, "_backward", local)


@breaks("resume")
def resume_forgets_the_optimiser(patch: Patch) -> None:
    patch.setattr(checkpoint, "restore_optimiser", lambda optimiser, tensors: None)


@breaks("resume", "determinism")
def resume_forgets_the_samples_in_the_buffer(patch: Patch) -> None:
    after(patch, Packer, "restore", lambda _, packer, state: packer.waiting.clear())


@breaks("resume", "determinism")
def resume_starts_the_data_again(patch: Patch) -> None:
    patch.setattr(Packer, "restore", lambda self, state: None)


@breaks("resume")
def resume_leaves_repeated_steps_in_the_log(patch: Patch) -> None:
    patch.setattr(progress, "cut_back", lambda file, steps: None)


@breaks("frozen", "gradients")
def frozen_parts_are_thawed(patch: Patch) -> None:
    def thawed(model: Model, stage: Any) -> dict[str, bool]:
        return set_trainable(model, stage.model_copy(update={"trainable": ("encoder", "connector", "backbone")}))

    everywhere(patch, set_trainable, thawed)


@breaks("frozen")
def frozen_parts_are_thawed_by_a_resume(patch: Patch) -> None:
    restore = StageRun.restore

    def thawing(self: StageRun, state: Any, folder: Any) -> None:
        restore(self, state, folder)
        self.model.requires_grad_(True)
        self.optimiser = make_optimiser(self.model, self.stage)

    patch.setattr(StageRun, "restore", thawing)


@breaks("gradients")
def no_gradient_flows_through_the_connector(patch: Patch) -> None:
    after(patch, Perceiver, "forward", lambda media, *_: media.detach())


@breaks("no-images")
def the_encoder_is_skipped_without_pictures(patch: Patch) -> None:
    media = Model.media

    def skipped(self: Model, batch: Batch) -> torch.Tensor:
        return media(self, batch) if len(batch.tiles) else torch.zeros(0, self.config.media_dim)

    patch.setattr(Model, "media", skipped)


# generation and checkpoints


@breaks("cached-generation")
def positions_in_the_cache_are_off_by_one(patch: Patch) -> None:
    forward = Decoder.forward

    def late(self: Decoder, embeddings: Any, positions: Any, attention: Any, cache: Any = None) -> Any:
        cached = cache is not None and cache[0] is not None
        return forward(self, embeddings, positions + 1 if cached else positions, attention, cache)

    patch.setattr(Decoder, "forward", late)


@breaks("cached-generation")
def generation_sees_the_padding_of_short_prompts(patch: Patch) -> None:
    forward = Decoder.forward

    def all_seen(self: Decoder, embeddings: Any, positions: Any, attention: Any, cache: Any = None) -> Any:
        cached = cache is not None and cache[0] is not None
        open_mask = Attention(torch.ones_like(attention.mask))
        return forward(self, embeddings, positions, open_mask if cached else attention, cache)

    patch.setattr(Decoder, "forward", all_seen)


@breaks("checkpoint")
def a_checkpoint_drops_a_tensor(patch: Patch) -> None:
    after(patch, checkpoint, "part_tensors", lambda tensors, *_: dict(list(tensors.items())[1:]))


@breaks("checkpoint")
def a_checkpoint_is_written_in_bfloat16(patch: Patch) -> None:
    save = checkpoint.save_file
    patch.setattr(checkpoint, "save_file", lambda t, f: save({k: v.bfloat16() for k, v in t.items()}, f))


@pytest.mark.parametrize(("check", "mutation"), [pytest.param(c, m, id=f"{n} -> {c}") for n, c, m in MUTATIONS])
def test_noticed(check: str, mutation: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutation(monkeypatch)
    compose, verdict = run_checks(toy_recipe(), only=[check])
    assert compose.passed, compose.detail
    assert not verdict.passed, verdict.detail
    assert "Error: " not in verdict.detail, "a crash is not a finding"
