"""The recipe under examination, and what the checks share of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch

from sensorium.atomic import write_file
from sensorium.data.batch import Batch, collate
from sensorium.data.loader import Loader, Rank
from sensorium.data.stream import Reading
from sensorium.edits.reconfigure import Reconfigure
from sensorium.errors import ConfigError, DataError
from sensorium.initialisation import Unfilled
from sensorium.laid_out import LaidOut
from sensorium.layout import Layout
from sensorium.model import Model, ModelConfig, compose
from sensorium.recipe import Recipe, Stage
from sensorium.sample import Sample
from sensorium.tokenizers.tokenizer import Tokenizer
from sensorium.training.stage_run import StageRun, reading
from sensorium.training.trainer import RECIPE

LARGE = 20_000_000
"""Models with more parameters are checked as their miniatures."""
STEPS, LAST = 2, 3
"""What twins are trained in each stage, and in the last, whose first step is saved and whose second interrupted."""
TOLERATED = 0.1
"""The share of samples that may be refused before something is wrong with the recipe and not with the samples."""
SHORT = 512
"""Twins are trained on samples up to this many tokens, where the data has such."""


class Subject:
    """A user's recipe: its real data and layout, and twins of its model that checks may train and change."""

    def __init__(self, recipe: Recipe, folder: Path, samples: int) -> None:
        self.recipe, self.folder, self.count = recipe, folder, samples
        self.bad: list[str] = []

    def move(self, folder: Path) -> None:
        """Keep what is written from now on in another folder."""
        folder.mkdir()
        self.folder = folder
        vars(self).pop("small", None)

    def describe(self) -> str:
        """Make what the checks share, and say what it is: the check before all others."""
        for share in (share for stage in self.recipe.stages for share in stage.data):
            share.source.build()  # missing data is found before a large model is read
        pictures, size = sum(bool(laid.spans) for laid in self.laid), sum(p.numel() for p in self.base.parameters())
        found = f"{self.full_size / 1e6:.1f} M parameters, {len(self.laid)} samples, {pictures} with pictures"
        if size != self.full_size:
            found += f"; checked in small ({size / 1e6:.1f} M)"
        refused = f"{len(self.bad)} samples refused, the first: {self.bad[0]}" if self.bad else ""
        if len(self.bad) > TOLERATED * (len(self.bad) + len(self.laid)):
            raise DataError(f"{len(self.laid)} samples can be used and {refused}")
        return found + (f"; {refused}" if refused else "")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.resolved.make_tokenizer()

    @cached_property
    def resolved(self) -> ModelConfig:
        """The recipe's model with everything that it names elsewhere written into it."""
        return self.recipe.model.resolved()

    @cached_property
    def full_size(self) -> int:
        """Parameters of the recipe's model, counted without making them."""
        with torch.device("meta"), Unfilled():
            return sum(p.numel() for p in Model(self.resolved, self.tokenizer).parameters())

    @cached_property
    def base(self) -> Model:
        """The model as a run would begin with it, or a smaller one if it is large; read-only."""
        if self.full_size <= LARGE:
            return compose(self.resolved, self.tokenizer).eval()
        narrow, few = self.resolved.smaller()
        try:
            return compose(narrow, self.tokenizer).eval()
        except ConfigError:
            return compose(few, self.tokenizer).eval()

    @cached_property
    def laid(self) -> list[LaidOut]:
        """The first samples of every stage, laid out for the recipe's own context."""
        found = [self.lay(number, self.count) for number in range(len(self.recipe.stages))]
        return [laid for stage in found for laid in stage]

    @cached_property
    def samples(self) -> list[Sample]:
        """The samples of `laid`, without pictures where the recipe is blind."""
        return [laid.sample for laid in self.laid]

    @cached_property
    def unbounded(self) -> Layout:
        """The recipe's layout with endless context, so that nothing is truncated."""
        layout = copy(self.base.layout)
        layout.context = 10**9
        return layout

    def lay(self, number: int, count: int) -> list[LaidOut]:
        """The first `count` samples of a stage in the order of its mixture; those that training would refuse are
        noted in `bad`."""
        packer = self.reading(number).packer(lambda refusal: None)
        found = []
        for key in islice(iter(packer.mixture.next_key, None), count):
            try:
                found.append(packer.lay(key))
            except DataError as error:
                self.bad.append(str(error))
        if not found:
            raise DataError(f"stage '{self.recipe.stages[number].name}' has no usable sample; {self.bad[-1]}")
        return found

    @cached_property
    def short(self) -> list[LaidOut]:
        """Samples that fit the twins' context whole, shortest first."""
        fitting = [laid for laid in self.laid if len(laid) <= self.small.model.context]
        whole = [laid for laid in fitting if len(self.unbounded(laid.sample)) == len(laid)]
        return sorted(whole or fitting, key=len)

    @cached_property
    def illustrated(self) -> list[LaidOut]:
        """Those of `short` that have pictures."""
        return [laid for laid in self.short if laid.spans]

    @cached_property
    def small(self) -> Recipe:
        """The recipe with few, short steps: what twins are trained with."""
        lengths = sorted(len(laid) for laid in self.laid)
        pictures = [len(laid) for laid in self.laid if laid.spans]
        context = max(self.base.config.least_picture + 8, min(lengths[-1], max(SHORT, min(pictures, default=0))))
        *earlier, last = (self._shortened(stage, context) for stage in self.recipe.stages)
        stages = (*earlier, last.model_copy(update={"steps": LAST}))
        model = self.base.config.model_copy(update={"context": context})
        save_every = sum(stage.steps for stage in stages) - 2  # once, and one step is repeated by a resume
        changes = {"model": model, "stages": stages, "save_every": save_every, "max_bad_samples": 10_000}
        return self.recipe.model_copy(update=changes)

    def _shortened(self, stage: Stage, context: int) -> Stage:
        features = self.folder / "features" if stage.cache_features else False  # all twins have the same encoder
        length = min(stage.length, 2 * context)
        rows = 2 * len(stage.data) if stage.balance == "rows" else 2
        policy = stage.policy and stage.policy.model_copy(update={"every": 1, "rows": 1})
        changes = {"steps": STEPS, "warmup": min(stage.warmup, 1), "length": length, "rows": rows, "micro_rows": 1}
        changes |= {"buffer": min(stage.buffer, 8), "cache_features": features, "policy": policy}
        changes |= {"edits": tuple(edit.miniature() for edit in stage.edits)}
        return stage.model_copy(update=changes)

    def twin(self, awake: bool = False) -> Model:
        """A copy of the base with the twins' context, as it is or `awake`."""
        with Unfilled():
            model = Model(self.small.model, self.tokenizer)
        model.load_state_dict((self.awake if awake else self.base).state_dict())
        return model.eval()

    @cached_property
    def awake(self) -> Model:
        """The base with noise on every weight, so that gates that start at zero are open and attention is not flat: a
        path that does nothing yet can hide no fault. Read-only."""
        model, generator = self.twin(), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                spread = weight[0].numel() ** -0.5 if weight.ndim >= 2 else 0.1
                weight.add_(torch.randn(weight.shape, generator=generator) * spread)
        return model

    def reading(self, number: int) -> Reading:
        """What the stage reads."""
        return reading(self.recipe, number, self.base.layout)

    def loader(self, number: int, rank: Rank = Rank()) -> Loader:  # noqa: B008
        """The stage's loader of short rows, one in a micro-batch."""
        return Loader(reading(self.small, number, self.small.model.layout(self.tokenizer)), 1, rank=rank)

    def packed(self, blind: bool = False) -> tuple[list[LaidOut], Batch]:
        """A row of three samples, with pictures where the data has any and one without."""
        chosen = [*self.illustrated[:2], *(laid for laid in self.short if not laid.spans)][:3]
        chosen = (chosen + self.short + self.short)[:3]
        if blind:
            chosen = [self.base.layout(laid.sample.blind()) for laid in self.short[:4]]
        return chosen, collate([chosen], self.base.layout)

    def run(self, number: int, out: Path | None = None, **changes: object) -> StageRun:
        """A stage of the small recipe, about to begin on a new twin."""
        recipe = self.small
        if changes:
            stages = list(recipe.stages)
            stages[number] = stages[number].model_copy(update=changes)
            recipe = recipe.model_copy(update={"stages": tuple(stages)})
        model = self.twin()
        self.reconfigure(model, number)
        folder = out or self.folder
        folder.mkdir(exist_ok=True)  # for what it may have to note of samples
        return StageRun(recipe, number, model, folder)

    def reconfigure(self, model: Model, number: int) -> None:
        """Bring a twin to the config that a stage trains it in, which may lack what earlier stages used."""
        for stage in self._line(number):
            for edit in stage.edits:
                if isinstance(edit, Reconfigure.Config):
                    edit.build()(model, iter(()), lambda name: model)

    def _line(self, number: int) -> list[Stage]:
        """The stages whose model reaches stage `number`, in order, that stage the last."""
        stages = self.small.stages
        stage = stages[number]
        if number == 0:
            return [stage]
        names = [earlier.name for earlier in stages]
        return [*self._line(names.index(stage.starts_from) if stage.starts_from else number - 1), stage]

    def begin(self, name: str) -> Path:
        """The folder of a run of the small recipe that stands before its first step, ready to be resumed."""
        out = self.folder / name
        run = self.run(0, out)
        write_file(out / RECIPE, self.small.to_yaml())
        run.save(0)
        return out


def media_of(documents: Sequence[LaidOut], number: int) -> slice:
    """Which tiles of a batch of one row belong to document `number` (from 0)."""
    before = sum(laid.tiles for laid in documents[:number])
    return slice(before, before + documents[number].tiles)
