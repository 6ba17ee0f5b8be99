"""One stage of a run: its data, its optimiser, its loop, and what goes into its checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.data.loader import Loader
from sensorium.data.quarantine import Quarantine
from sensorium.data.share import Share
from sensorium.data.source import Source
from sensorium.data.stream import Reading
from sensorium.encoders.cache import cached_features
from sensorium.errors import CheckpointError, DataError, TrainingError
from sensorium.layout import Layout
from sensorium.model import Model
from sensorium.objectives.objective import Objective, StepObjective
from sensorium.recipe import Recipe, Stage
from sensorium.training import checkpoint
from sensorium.training.lanes import Lanes, add_gradients, lanes
from sensorium.training.optimisation import autocast, lr_at, make_optimiser, precision, set_trainable
from sensorium.training.progress import Log
from sensorium.training.spanning import Spanning
from sensorium.training.texts import can_keep, kept_texts

QUARANTINE = "quarantine.jsonl"


class StageRun:
    """One stage: its data, its optimiser, its loop. `data` is what its checkpoints say of what they are made from."""

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        model: Model,
        out: Path,
        data: dict[str, Any] | None = None,
        workers: int = 0,
    ) -> None:
        self.recipe, self.number, self.model, self.out, self.data = recipe, number, model, out, data
        self.stage: Stage = recipe.stages[number]
        self.device = model.device
        self.dtype = precision(self.stage, self.device, model.config.backbone.dim)
        self.ready()
        self.lanes: Lanes | None = None
        self.objective: Objective = self.stage.objective.build()
        self.quarantine = Quarantine(out / QUARANTINE, recipe.max_bad_samples)
        self.loader = self._loader(workers)
        self.policy = self.stage.policy.build() if self.stage.policy else None
        self.rounds: list[list[float]] = []
        self.step = 0

    def _loader(self, workers: int) -> Loader:
        return Loader(
            reading(self.recipe, self.number, self.model.layout),
            self.stage.micro_rows or self.stage.rows,
            self.quarantine,
            self.number,
            workers,
            pinned=self.device.type == "cuda",
        )

    def ready(self) -> None:
        """Freeze what the stage does not train, and make an optimiser for what it does."""
        self.trainable = set_trainable(self.model, self.stage)
        self.optimiser = make_optimiser(self.model, self.stage)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        """Go on from a checkpoint of this stage; the frozen stay frozen."""
        if state["trainable"] != self.trainable:
            raise CheckpointError(f"{folder}: its trainable parameters are not those of stage '{self.stage.name}'")
        self.step, self.rounds = state["step"], state["rounds"]
        self.loader.restore(state["data"])
        checkpoint.restore_optimiser(self.optimiser, checkpoint.read_tensors(folder / checkpoint.OPTIMISER))

    def go(self, log: Log, state: dict[str, Any], stop_after: int | None) -> bool:
        """Run to the stage's end; false if `stop_after` came first."""
        if self.recipe.blind and self.objective.needs_pictures:
            return True
        log.stage(self.stage.name, self.stage.steps, self.step)
        if self.step == 0:
            self.throw(state["total_step"])
            self.edit()
        with self.running():
            while self.step < self.stage.steps:
                if stop_after is not None and state["total_step"] >= stop_after:
                    return False
                mixed = self.mix()
                self.throw(state["total_step"])
                record = self.one_step()
                state["total_step"] += 1
                log.step({"step": state["total_step"], "stage": self.stage.name, **record, **mixed})
                if state["total_step"] % self.recipe.save_every == 0:
                    self.save(state["total_step"])
        return True

    def throw(self, total_step: int) -> None:
        """Set torch's dice by the step, so that what dropout and edits draw is the same after a resume."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + total_step)

    def mix(self) -> dict[str, Any]:
        """Weigh the sources anew if the policy's time has come; returns what the log is to say of it."""
        if self.policy is None or self.step % self.policy.config.every:
            return {}
        if self.step:
            self.rounds.append(self.target_losses(self.policy.config.targets, self.policy.config.rows))
        weights = self.policy.weights([share.weight for share in self.stage.data], self.rounds)
        self.loader.reweigh(weights)
        return {"mixture": [weight / sum(weights) for weight in weights], "target_losses": self.rounds[-1:]}

    @torch.no_grad()
    def target_losses(self, targets: Sequence[Source.Config], rows: int) -> list[float]:
        """The mean loss on so many rows of each of some sources."""
        losses = []
        for target in targets:
            held_out = replace(self.loader.reading, shares=(Share(source=target),), rows=1, balance="samples")
            loader, total, count = Loader(held_out, 1), 0.0, 0
            for batch in chain.from_iterable(loader.next_step() for _ in range(rows)):
                with autocast(self.dtype, self.device):
                    loss = self.objective(self.model, batch.to(self.device))
                total, count = total + float(loss.total), count + loss.count
            losses.append(total / count)
        return losses

    def edit(self) -> None:
        """Rewrite the model as the stage wants it, with a stream of the stage's data that costs the stage none."""
        for config in self.stage.edits:
            loader = Loader(self.loader.reading, self.stage.rows)
            with autocast(self.dtype, self.device), self.keeping():
                config.build()(self.model, chain.from_iterable(iter(loader.next_step, None)), self.model_after)
        if self.stage.edits:
            self.ready()
            self.loader = self._loader(self.loader.workers)  # the layout may be another

    def model_after(self, stage: str) -> Model:
        """The last model of an earlier stage."""
        return checkpoint.load_model(checkpoint.stage_folder(self.out, stage))

    @contextmanager
    def running(self) -> Iterator[None]:
        """What holds around the steps: features are kept, and lanes are open, if the stage says so."""
        with ExitStack() as stack:
            stack.enter_context(self.keeping())
            if self.stage.lanes > 1 and self.device.type == "cpu":
                self.lanes = stack.enter_context(lanes(self.stage.lanes))
            stack.callback(self.loader.close)
            try:
                yield
            finally:
                self.lanes = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """The encoder looks up features of what it has seen, if the stage says so. Each edit has this for itself, for
        it may leave another encoder."""
        where = self.stage.cache_features
        with ExitStack() as stack:
            if where:
                folder = self.out / "features" if where is True else where
                stack.enter_context(cached_features(self.model.encoder, folder))
                if can_keep(self.model):
                    stack.enter_context(kept_texts(self.model, folder))
            yield

    def one_step(self) -> dict[str, Any]:
        """One optimiser step over all micro-batches."""
        started = time.perf_counter()
        batches = self.loader.next_step()
        loaded = time.perf_counter()
        loss, count = self.accumulate(batches)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.stage.clip_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self.diverged(batches, loss, norm)
        scale = lr_at(self.step, self.stage)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * scale
        self.optimiser.step(self.lanes)
        self.optimiser.zero_grad()
        self.model.head.settle()
        self.step += 1
        seconds = time.perf_counter() - started
        real = sum(batch.real_tokens for batch in batches)
        return {
            "loss": loss,
            "lr": scale * self.stage.lr,
            "grad_norm": norm,
            "loss_terms": count,
            "tokens_per_second": real / seconds,
            "padded_tokens_per_second": self.stage.tokens_per_step / seconds,
            "packing_efficiency": real / self.stage.tokens_per_step,
            "data_seconds": loaded - started,
            "seconds": seconds,
            "bad_samples": self.quarantine.count,
        }

    def accumulate(self, batches: list[Batch]) -> tuple[float, int]:
        """Add up the gradients of a step's micro-batches; the loss is divided once, by the whole step's count.

        Returns the mean loss and the count; a `DataError` if no token of the step is supervised.
        """
        count = sum(self.objective.count(batch) for batch in batches)
        if not count:
            names = ", ".join(batch.names() for batch in batches)
            raise DataError(f"nothing is supervised in the samples {names or '(none)'}; set supervise on a segment")
        divisors = self._divisors(batches, count)
        if isinstance(self.objective, StepObjective):
            return self._span(self.objective, batches, divisors), count
        if self.lanes:
            parts = self.lanes.map(self._gradients, batches, divisors)
            add_gradients(self.parameters, [gradients for _, gradients in parts])
            totals = [total for total, _ in parts]
        else:
            totals = [self._backward(b.to(self.device), by) for b, by in zip(batches, divisors, strict=True)]
        if self.stage.balance == "rows":
            return sum(total / by for total, by in zip(totals, divisors, strict=True)), count
        return sum(totals) / count, count

    def _span(self, objective: StepObjective, batches: list[Batch], divisors: list[float]) -> float:
        """The same for a loss that spans the step, or where each source has rows of its own, that of each source."""
        casting = partial(autocast, self.dtype, self.device)
        spanning = Spanning(objective, self.model, self.parameters, casting, self.lanes)
        each = len(batches) // (len(self.stage.data) if self.stage.balance == "rows" else 1)
        starts = range(0, len(batches), each)
        return sum(spanning.backward(batches[i : i + each], divisors[i]) / divisors[i] for i in starts)

    def _divisors(self, batches: list[Batch], count: int) -> list[float]:
        """What each micro-batch's loss is divided by: the count of the step, or where each source has rows of its own,
        that of its source by its loss's weight."""
        if self.stage.balance != "rows":
            return [count] * len(batches)
        each = len(batches) // len(self.stage.data)
        counts = [self.objective.count(batch) for batch in batches]
        of_source = [sum(counts[i : i + each]) or 1 for i in range(0, len(batches), each)]
        return [of_source[i // each] / self.stage.data[i // each].loss_weight for i in range(len(batches))]

    def _backward(self, batch: Batch, by: float) -> float:
        total = self._total(batch)
        (total / by).backward()
        return float(total.detach())

    def _gradients(self, batch: Batch, by: float) -> tuple[float, Sequence[Tensor | None]]:
        total = self._total(batch)
        return float(total.detach()), torch.autograd.grad(total / by, self.parameters, allow_unused=True)

    def _total(self, batch: Batch) -> Tensor:
        with autocast(self.dtype, self.device):
            return self.objective(self.model, batch).total

    def diverged(self, batches: list[Batch], loss: float, norm: float) -> TrainingError:
        """What to say of a step whose numbers are not finite; it must change neither weights nor checkpoints."""
        where = f"stage '{self.stage.name}', step {self.step + 1} of {self.stage.steps}"
        last = checkpoint.newest_checkpoint(self.out)
        keys = " ".join(key for batch in batches for row in batch.keys for key in row)
        return TrainingError(
            f"{where}: the loss is {loss}, the norm of its gradient {norm}; the run stopped before they reached the "
            f"weights. Lower stages.{self.number}.lr (now {self.stage.lr:g}) and train into another folder; or look at "
            f"the step's samples (`sensorium data show {self.out}/recipe.yaml --stage {self.number} {keys}`), correct "
            f"them, and go on with --resume from {last or 'the start, for there is no checkpoint yet'}. The samples: "
            + ", ".join(batch.names() for batch in batches)
        )

    def save(self, total_step: int) -> None:
        """A checkpoint to go on from; old ones beyond `keep` are removed."""
        state = {
            "stage": self.number,
            "step": self.step,
            "total_step": total_step,
            "data": self.loader.state(),
            "rounds": self.rounds,
            "trainable": self.trainable,
        }

        def extra(folder: Path) -> None:
            (folder / checkpoint.STATE).write_text(json.dumps(state))
            save_file(checkpoint.optimiser_tensors(self.optimiser), folder / checkpoint.OPTIMISER)

        checkpoints = self.out / "checkpoints"
        checkpoint.save_model(self.model, checkpoints / f"step-{total_step}", self.data, extra)
        for old in sorted(checkpoints.glob("step-*"), key=lambda p: int(p.name[5:]))[: -self.recipe.keep]:
            shutil.rmtree(old)


def reading(recipe: Recipe, number: int, layout: Layout) -> Reading:
    """Which rows a stage reads; their order depends on the recipe's seed, the stage and nothing else."""
    stage = recipe.stages[number]
    if stage.tiling is not None:
        layout = copy(layout)
        layout.tiling = stage.tiling.build(input_size=layout.tiling.input_size)
    return Reading(
        stage.data,
        recipe.mixture_seed(number),
        layout,
        stage.rows,
        stage.length,
        stage.buffer,
        stage.tiles,
        stage.packing,
        stage.balance,
        stage.temperature,
        stage.isolated,
        recipe.blind,
        recipe.max_bad_samples,
    )
