"""What holds of a training run: its division, its interruption, its frozen parts, that it can learn at all."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import zip_longest
from shutil import copytree

import torch
from torch import Tensor

from sensorium.checks.check import check
from sensorium.checks.finding import require
from sensorium.checks.subject import Subject
from sensorium.data.batch import collate
from sensorium.generation.engine import Sampler, stream
from sensorium.laid_out import LaidOut, truncate
from sensorium.model import PARTS, Model
from sensorium.sample import Sample, Text
from sensorium.training.checkpoint import load_model
from sensorium.training.progress import LOG
from sensorium.training.stage_run import StageRun
from sensorium.training.trainer import train

PATIENCE = 200
"""Steps in which one sample must be learnt by heart."""


@check("accumulation")
def accumulation(subject: Subject) -> str:
    """Accumulation invariance: 1 x 4, 2 x 2 and 4 x 1 micro-batches give the same gradient within 1e-5."""
    objectives = {stage.objective.to_yaml(): n for n, stage in reversed(list(enumerate(subject.small.stages)))}
    worst = max(_accumulated(subject, number) for number in objectives.values())
    return f"4 rows at once, 2 x 2 and 4 x 1: gradients within {worst:.0e}"


def _accumulated(subject: Subject, number: int) -> float:
    """In float64, so that what differs is the division and not rounding; in float32 if a part insists on it."""
    try:
        return _divided(subject, number, torch.float64)
    except RuntimeError:
        return _divided(subject, number, torch.float32)


def _divided(subject: Subject, number: int, dtype: torch.dtype) -> float:
    """The greatest relative difference between the gradients of a stage's four rows, divided up in three ways."""
    runs = [subject.run(number, rows=4, micro_rows=size, precision="float32") for size in (4, 2, 1)]
    worst, losses, where = 0.0, [], f"stage '{runs[0].stage.name}'"
    for run in runs:
        run.model.to(dtype).eval()  # dropout would differ
        with run.keeping():
            loss, _ = run.accumulate(run.loader.next_step())
        losses.append(loss)
    for run in runs[1:]:
        for name, whole, split in _pairs(runs[0].model, run.model):
            difference = float((whole - split).norm() / whole.norm().clamp(min=1e-12))
            worst = max(worst, difference if float(whole.norm()) > 1e-7 else 0.0)
            what = f"{where}, {run.stage.micro_rows} rows at a time: the gradient of {name}"
            require(worst < 1e-5, f"{what} differs by {difference:.1e} from that of all rows together")
    require(max(losses) - min(losses) < 1e-4, f"{where}: the loss of the same rows is {sorted(losses)}")
    return worst


def _pairs(one: Model, other: Model) -> list[tuple[str, Tensor, Tensor]]:
    others = dict(other.named_parameters())
    return [(n, p.grad, others[n].grad) for n, p in one.named_parameters() if p.grad is not None]  # type: ignore[misc]


@check("resume")
def resume(subject: Subject) -> str:
    """An interrupted run equals an uninterrupted one, bit for bit on a CPU."""
    recipe, steps = subject.small, sum(stage.steps for stage in subject.small.stages)
    whole = subject.begin("whole")
    broken = copytree(whole, subject.folder / "broken")
    uninterrupted = train(recipe, whole, resume=True, quiet=True, device="cpu")
    train(recipe, broken, resume=True, quiet=True, stop_after=steps - 1, device="cpu")
    resumed = train(recipe, broken, resume=True, quiet=True, device="cpu")
    logs = [[json.loads(line) for line in (out / LOG).read_text().splitlines()] for out in (whole, broken)]
    one, other = ([(line["step"], line["loss"]) for line in log] for log in logs)
    apart = next((pair for pair in zip_longest(one, other) if pair[0] != pair[1]), None)
    require(apart is None, f"step and loss {apart and apart[0]} of the one run are {apart and apart[1]} of the other")
    weights = resumed.state_dict()
    for name, weight in uninterrupted.state_dict().items():
        require(torch.equal(weight, weights[name]), f"{name} is not the same after {steps} steps")
    return (
        f"{steps} steps, stopped after {steps - 1}, resumed from {recipe.save_every}: losses and weights bit-identical"
    )


@check("frozen")
def frozen(subject: Subject) -> str:
    """Frozen parts stay frozen, also after a resume, and the others move."""
    seen: dict[tuple[str, ...], int] = {}
    for number, stage in enumerate(subject.small.stages):
        if set(stage.trainable) != set(PARTS):
            seen.setdefault(tuple(sorted(stage.trainable)), number)
    for count, (trainable, number) in enumerate((seen or {("connector",): 0}).items()):
        run = subject.run(number, subject.folder / f"frozen-{count}", trainable=trainable)
        before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
        with run.keeping():
            run.one_step()
        run.save(1)
        _still(run, before, trainable, "after a step")
        folder = run.out / "checkpoints" / "step-1"
        again = StageRun(run.recipe, number, load_model(folder), run.out)
        again.restore(json.loads((folder / "state.json").read_text()), folder)
        with again.keeping():
            again.one_step()
        _still(again, before, trainable, "after a resume and a step")
    return "; ".join(f"only {', '.join(t)} moved" for t in seen) or "tried with the connector alone: only it moved"


def _still(run: StageRun, before: dict[str, Tensor], trainable: tuple[str, ...], when: str) -> None:
    model = run.model
    free = {id(p) for name in trainable for p in getattr(model, name).parameters()}
    moved = 0
    for name, weight in model.named_parameters():
        require(
            weight.requires_grad == (id(weight) in free), f"{when}: {name} is trainable or frozen against the stage"
        )
        same = torch.equal(weight, before[name])
        require(same or id(weight) in free, f"{when}: {name} is frozen and has changed")
        moved += not same
    for name, value in model.named_buffers():
        part = name.split(".")[0]
        same = name not in before or torch.equal(value, before[name])
        require(same or part in trainable, f"{when}: the statistics {name} of a frozen part have changed")
    require(moved > 0, f"{when}: nothing has moved")


@check("overfit")
def overfit(subject: Subject) -> str:
    """Trained on one sample, a model reproduces its text by generation: labels, shift, mask and template agree."""
    sample, stages = next(iter(subject.illustrated or subject.short)).sample, subject.small.stages
    writing = [n for n, stage in enumerate(stages) if stage.objective.build().writing is not None]
    if not writing:
        return "not applicable: no stage learns to write"
    trained = {name for stage in stages for name in stage.trainable}
    trainable = tuple(name for name in PARTS if name in trained or name != "encoder")
    features = stages[writing[0]].cache_features if "encoder" not in trainable else False
    run = subject.run(writing[0], trainable=trainable, cache_features=features)
    model, laid = run.model, run.model.layout(sample)
    batch = collate([[laid]], model.layout)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=2e-3, betas=(0.9, 0.95), fused=True)
    loss, step = float("inf"), 0
    with run.keeping():
        while loss > 0.03 and step < PATIENCE:
            loss, _ = run.accumulate([batch])
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
    require(loss < 0.1, f"{sample.name}: after {step} steps on this one sample the loss is still {loss:.2f}")
    found = [_generated(model.eval(), laid, place) for place in _replies(sample)]
    for wanted, reply in found:
        require(reply == wanted, f"{sample.name}: learnt {wanted[:60]!r} by heart and generates {reply[:60]!r}")
    said = f": {found[0][1][:40]!r}" if found else ""
    return f"{sample.name} after {step} steps, loss {loss:.3f}, {len(found)} texts generated{said}"


def _replies(sample: Sample) -> list[int]:
    """The places of up to three supervised texts that follow something and close their turn."""
    places = []
    for place, segment in enumerate(sample.segments[1:], 1):
        closes = place + 1 == len(sample.segments) or sample.segments[place + 1].role != segment.role
        if closes and isinstance(segment, Text) and segment.supervise and segment.text.strip():
            places.append(place)
    return places[:3]


def _generated(model: Model, laid: LaidOut, place: int) -> tuple[str, str]:
    """The text of segment `place`, and what the model generates in its stead."""
    segment, layout = laid.sample.segments[place], model.layout
    before = replace(laid.sample, segments=laid.sample.segments[:place])
    if before.segments[-1].role == segment.role:
        marks, prompt = layout.template.turn(segment.role), layout(before)
        closing = layout.tokenizer.markers(marks.end) + layout.tokenizer.markers(marks.after)
        prompt = truncate(prompt, len(prompt) - len(closing))
    else:
        prompt = layout(before, reply=segment.role)
    same = prompt.ids.tolist() == laid.ids[: len(prompt)].tolist()
    require(same, f"{laid.sample.name}: the prompt for segment {place} is not what stands before it in training")
    text, written = getattr(segment, "text", ""), []
    for tokens in stream(model, [prompt], len(layout.tokenizer.encode(text)) + 4, Sampler(0.0, 1.0, 0, model.device)):
        written += [token for token in tokens if token is not None]
    return text.strip(), layout.tokenizer.decode(written).strip()
