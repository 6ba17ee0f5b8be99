"""Training: the schedule by hand, what is decayed and frozen, and that runs can be repeated, stopped and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy import Toy, toy_model, toy_recipe

from sensorium.connectors.linear import Linear
from sensorium.data.batch import Batch, collate
from sensorium.errors import CheckpointError, ConfigError, DataError, TrainingError
from sensorium.model import PARTS, Model
from sensorium.recipe import Recipe, Stage
from sensorium.sample import Sample, Text
from sensorium.training.checkpoint import load_model, part_tensors, weights_digest
from sensorium.training.lanes import add_gradients, lanes
from sensorium.training.manifest import made_from, made_with
from sensorium.training.muon import Muon
from sensorium.training.optimisation import Together, lr_at, make_optimiser, precision, set_trainable
from sensorium.training.progress import cut_back
from sensorium.training.stage_run import StageRun, reading
from sensorium.training.trainer import train

TESTS = Path(__file__).parent


def stage(**changes: Any) -> Stage:
    return toy_recipe().stages[0].model_copy(update=changes)


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in log_of(out)]


def same_weights(one: Model, other: Model) -> bool:
    return all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


# schedule


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    plan = stage(warmup=4, steps=12, schedule="constant")
    assert [lr_at(step, plan) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine() -> None:
    plan = stage(warmup=2, steps=10, schedule="cosine", final_lr=0.2)
    # 8 steps of descent from 1 to 0.2: a quarter of the way is (1 + cos 45 degrees) / 2 of the span
    assert lr_at(2, plan) == 1.0
    assert lr_at(4, plan) == pytest.approx(0.2 + 0.8 * 0.8535533905932737)
    assert lr_at(6, plan) == pytest.approx(0.6)
    assert lr_at(10, plan) == pytest.approx(0.2)


def test_linear() -> None:
    plan = stage(warmup=0, steps=4, schedule="linear", final_lr=0.0)
    assert [lr_at(step, plan) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_the_log_has_the_rate_that_was_used(tmp_path: Path) -> None:
    train(toy_recipe("stages.0.warmup=4", "stages.0.lr=1"), tmp_path, quiet=True, stop_after=3)
    assert [record["lr"] for record in log_of(tmp_path)] == [0.25, 0.5, 0.75]


# what is trained


def test_matrices_alone_are_decayed() -> None:
    model, plan = toy_model(), stage(weight_decay=0.3, lr=1e-3, lr_of={"encoder": 1e-4})
    set_trainable(model, plan)
    optimiser = make_optimiser(model, plan)
    seen = []
    for group in optimiser.param_groups:
        assert all((weight.ndim >= 2) == (group["weight_decay"] == 0.3) for weight in group["params"])
        assert group["weight_decay"] in (0.3, 0.0)
        seen += group["params"]
    assert len({id(weight) for weight in seen}) == len(seen) == len(list(model.parameters()))
    slow = {id(weight) for group in optimiser.param_groups if group["peak"] == 1e-4 for weight in group["params"]}
    assert slow == {id(weight) for weight in model.encoder.parameters()}


def test_muon_gets_the_matrices_of_the_layers_and_adamw_all_else() -> None:
    model, plan = toy_model("model.fusion=modality-experts"), stage(muon_lr=2e-3, lr=1e-3)
    set_trainable(model, plan)
    adamw, *muons = make_optimiser(model, plan).members
    assert all(isinstance(muon, Muon) for muon in muons)
    inner = {id(weight) for muon in muons for group in muon.param_groups for weight in group["params"]}
    within = (*model.backbone.layers, model.fusion, *model.connector.layers)  # type: ignore[misc]
    layers = [weight for module in within for weight in module.parameters()]
    assert inner == {id(weight) for weight in layers if weight.ndim == 2}
    outer = [id(weight) for group in adamw.param_groups for weight in group["params"]]
    assert len(outer) == len(set(outer)) == len(list(model.parameters())) - len(inner)
    assert {group["peak"] for muon in muons for group in muon.param_groups} == {2e-3}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_muon_moves_as_that_of_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    starts = [random(24, 24), random(40, 24), random(24, 24), random(24, 40)]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    ours[2] = torch.nn.Parameter(starts[2].clone().view(24, 6, 2, 2))  # a kernel, which torch's does not take
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    together = Together(*(Muon(part, 0.02, 0.1, dtype=dtype) for part in (ours[::2], ours[1::2])))
    for _ in range(5):
        for mine, its, gradient in zip(ours, theirs, [random(*start.shape) for start in starts], strict=True):
            mine.grad, its.grad = gradient.clone().view(mine.shape), gradient.clone()
        together.step()
        reference.step()
    for mine, its, start in zip(ours, theirs, starts, strict=True):
        moved, expected = mine.detach().view(start.shape) - start, its.detach() - start
        assert (moved - expected).norm() < 0.03 * expected.norm()  # its iterations run in bfloat16


def test_only_the_named_parts_are_trained() -> None:
    model = toy_model()
    mask = set_trainable(model, stage(trainable=("connector",)))
    assert {name.split(".")[0] for name, trained in mask.items() if trained} == {"connector"}
    assert [getattr(model, name).training for name in PARTS] == [False, True] + [False] * 7
    held = [weight for group in make_optimiser(model, stage()).param_groups for weight in group["params"]]
    assert {id(weight) for weight in held} == {id(weight) for weight in model.connector.parameters()}


def test_a_tied_weight_is_trained_if_either_part_is() -> None:
    for part in ("head", "backbone"):
        model = toy_model()
        set_trainable(model, stage(trainable=(part,)))
        assert model.head.get_parameter("weight").requires_grad
    assert not set_trainable(toy_model("model.head.tied=false"), stage(trainable=("head",)))[
        "backbone.embedding.weight"
    ]


def test_precision_is_decided_by_hardware_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert precision(stage(precision="float32"), cpu) == torch.float32
    assert precision(stage(precision="bfloat16"), cpu) == torch.bfloat16
    for avx, amx, wanted in (
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert precision(stage(precision="auto"), cpu) == wanted


def test_the_loss_is_divided_once_by_all_supervised_tokens(tmp_path: Path) -> None:
    """Against a mean over all rows at once, computed here."""
    run = StageRun(toy_recipe("stages.0.micro_rows=1", "stages.0.precision=float32"), 0, toy_model(), tmp_path)
    batches = run.loader.next_step()
    total, count = 0.0, 0
    for batch in batches:
        logits = run.model.head(run.model(batch)).log_softmax(-1)
        for row, place in torch.nonzero(batch.supervised).tolist():
            if place and batch.documents[row, place] == batch.documents[row, place - 1]:
                total -= logits[row, place - 1, batch.ids[row, place]].item()
                count += 1
    loss, counted = run.accumulate(batches)
    assert counted == count
    assert loss == pytest.approx(total / count, rel=1e-5)


def test_nothing_supervised_is_refused(tmp_path: Path) -> None:
    run = StageRun(toy_recipe(), 0, toy_model(), tmp_path)
    silent = run.model.layout(Sample((Text("only a question"),), id="3", source="talk"))
    with pytest.raises(DataError, match="nothing is supervised in the samples talk/3; set supervise on a segment"):
        run.accumulate([collate([[silent]], run.model.layout)])


# numbers that are not finite


@pytest.mark.parametrize("what", ["the loss is nan", "the norm of its gradient inf"])
def test_a_step_that_is_not_finite_stops_the_run_and_reaches_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the eighth step, which would also write a checkpoint; once the cause is gone the run goes on as if nothing
    had been."""
    accumulate, models = StageRun.accumulate, []

    def poisoned(self: StageRun, batches: list[Batch]) -> tuple[float, int]:
        loss, count = accumulate(self, batches)
        models.append(self.model)
        if len(models) < 8:
            return loss, count
        before.update({name: weight.clone() for name, weight in self.model.state_dict().items()})
        if "loss" in what:
            return float("nan"), count
        next(p.grad for p in self.model.parameters() if p.grad is not None)[0] = float("inf")
        return loss, count

    before: dict[str, torch.Tensor] = {}
    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "accumulate", poisoned)
        with pytest.raises(TrainingError) as caught:
            train(toy_recipe(), tmp_path, quiet=True)
    message = str(caught.value)
    for words in (
        what,
        "stage 'words', step 2 of 6",
        "stages.1.lr (now 0.003)",
        "sensorium data show",
        "step-4",
        "toy/",
    ):
        assert words in message
    assert all(torch.equal(weight, before[name]) for name, weight in models[-1].state_dict().items())
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-4"]
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
    train(toy_recipe(), tmp_path, resume=True, quiet=True)
    train(toy_recipe(), tmp_path / "whole", quiet=True)
    assert losses(tmp_path) == losses(tmp_path / "whole")


# the manifest


def test_the_manifest_says_what_a_checkpoint_was_made_from(uninterrupted: tuple[Path, Model]) -> None:
    recipe = toy_recipe()
    for folder in ("model", "checkpoints/step-8"):
        manifest = json.loads((uninterrupted[0] / folder / "manifest.json").read_text())
        assert {"packages", "python", "revision", "template", "stages", "files"} == set(manifest)
        assert [stage["name"] for stage in manifest["stages"]] == ["all", "words"]
        for number, stage in enumerate(manifest["stages"]):
            layout = uninterrupted[1].layout
            own, other = (reading(made, number, layout).mixture() for made in (recipe, toy_recipe("seed=99")))
            other.seed = stage["mixture_seed"]
            order, again = ([mixture.next_key() for _ in range(20)] for mixture in (own, other))
            assert order == again
            assert stage["sources"][0]["type"] == "toy"
            assert stage["sources"][0]["files"] is None


def test_hashes_change_with_what_they_are_of_and_with_nothing_else() -> None:
    base, same = toy_recipe(), Recipe.from_dict(dict(reversed(toy_recipe().to_dict().items())))
    assert made_from(base) == made_from(same)
    for change in ("seed=8", "stages.1.data.0.source.samples=61", "stages.0.data.0.weight=2"):
        assert made_from(toy_recipe(change)) != made_from(base)
    assert made_from(toy_recipe("stages.0.lr=1", "model.context=90")) == made_from(base)
    template = made_with(base.model)["template"]
    assert made_with(toy_recipe("model.template.user.prefix=User").model)["template"] != template
    assert made_with(toy_recipe("model.context=90").model)["template"] == template


# repeated, stopped, killed


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    return out, train(toy_recipe(), out, quiet=True)


def test_it_learns(uninterrupted: tuple[Path, Model]) -> None:
    found = [loss for _, loss in losses(uninterrupted[0])]
    assert found[-1] < found[0]


def test_the_same_seed_gives_the_same_losses_to_the_last_bit(uninterrupted: tuple[Path, Model], tmp_path: Path) -> None:
    model = train(toy_recipe(), tmp_path, quiet=True)
    assert losses(tmp_path) == losses(uninterrupted[0])
    assert same_weights(model, uninterrupted[1])
    train(toy_recipe("seed=8"), tmp_path / "other", quiet=True, stop_after=1)
    assert losses(tmp_path / "other")[0] != losses(uninterrupted[0])[0]


def test_side_by_side_is_the_same_run(uninterrupted: tuple[Path, Model], tmp_path: Path) -> None:
    """Micro-batches in lanes of their own, and so is a part of the optimiser; stopped and resumed on the way."""
    recipe = toy_recipe("stages.1.lanes=2")
    train(recipe, tmp_path, quiet=True, stop_after=9)
    model = train(recipe, tmp_path, resume=True, quiet=True)
    assert losses(tmp_path) == losses(uninterrupted[0])
    assert same_weights(model, uninterrupted[1])
    assert torch.get_num_threads() == 1


def test_gradients_from_lanes_lie_as_their_parameters_do() -> None:
    """Those of convolutions come in other strides at some batch sizes, and a fused optimiser reads them in a row."""
    weight = torch.nn.Parameter(torch.zeros(4, 3, 2, 2))
    gradient = torch.arange(48.0).view(4, 3, 2, 2)
    add_gradients([weight], [[gradient.contiguous(memory_format=torch.channels_last)], [None], [gradient]])
    assert weight.grad is not None
    assert weight.grad.stride() == weight.stride()
    assert torch.equal(weight.grad, 2 * gradient)


def test_random_numbers_in_lanes_are_refused() -> None:
    with lanes(2) as two:
        assert two.map(lambda number: number + 1, [1, 2, 3]) == [2, 3, 4]
        with pytest.raises(TrainingError, match=r"random numbers .* set lanes to 1"):
            two.map(lambda number: torch.nn.functional.dropout(torch.ones(number)), [4, 5])


@pytest.mark.parametrize("stop", [2, 5, 6, 7, 11], ids=lambda stop: f"after {stop} of 12")
def test_stopped_and_resumed_it_is_the_same_run(stop: int, uninterrupted: tuple[Path, Model], tmp_path: Path) -> None:
    """Before the first checkpoint (4), after it, where the stages meet, and after a checkpoint of the second stage."""
    train(toy_recipe(), tmp_path, quiet=True, stop_after=stop)
    assert len(log_of(tmp_path)) == stop
    model = train(toy_recipe(), tmp_path, resume=True, quiet=True)
    assert losses(tmp_path) == losses(uninterrupted[0])
    assert same_weights(model, uninterrupted[1])


def test_killed_and_resumed_it_is_the_same_run(tmp_path: Path) -> None:
    """SIGKILL, in the middle of a step or of writing a checkpoint, wherever it happens to strike."""
    longer = ("stages.0.steps=20", "stages.1.steps=20")
    wanted = train(toy_recipe(*longer), tmp_path / "whole", quiet=True)
    script = f"from toy import *; sm.train(toy_recipe(*{longer}), {str(tmp_path / 'killed')!r}, quiet=True)"
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_bytes().count(b"\n") >= 14):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was still running"
    assert not (tmp_path / "killed" / "model").exists()
    with log.open("a") as file:
        file.write('{"step": 99, "los')  # as a kill in the middle of a line would leave it
    model = train(toy_recipe(*longer), tmp_path / "killed", resume=True, quiet=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert same_weights(model, wanted)


def test_a_run_starts_with_the_weights_of_another(uninterrupted: tuple[Path, Model], tmp_path: Path) -> None:
    folder, trained = uninterrupted
    recipe = toy_recipe(f"start={folder}", "seed=8")
    begun = train(recipe, tmp_path / "run", quiet=True, stop_after=0)
    assert same_weights(begun, trained)
    train(recipe, tmp_path / "run", quiet=True, resume=True)
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert manifest["start"] == weights_digest(folder)
    with pytest.raises(CheckpointError, match=r"another backbone .*set model\.backbone as in"):
        train(recipe.override("model.backbone.depth=1"), tmp_path / "other", quiet=True)


def test_a_run_starts_with_parts_of_others(uninterrupted: tuple[Path, Model], tmp_path: Path) -> None:
    """They are as in the run, and all else as in a new model, even where the run has another connector."""
    folder, trained = uninterrupted
    start = f"start={{encoder: {folder}, backbone: {folder}}}"
    recipe = toy_recipe("model.connector=mlp", "seed=8")
    new = train(recipe, tmp_path / "new", quiet=True, stop_after=0)
    begun = train(recipe.override(start), tmp_path / "run", quiet=True, stop_after=0)
    for name in PARTS:
        wanted = part_tensors(trained if name in ("encoder", "backbone") else new, name)
        assert all(torch.equal(weight, wanted[key]) for key, weight in part_tensors(begun, name).items()), name
    train(recipe.override(start), tmp_path / "run", quiet=True, resume=True)
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert manifest["start"] == dict.fromkeys(("encoder", "backbone"), weights_digest(folder))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (["start={encoder: RUN}", "model.encoder.depth=2"], r"has another encoder .*set model\.encoder as in its"),
        (
            ["start={backbone: RUN}", "model.tokenizer.vocab_size=290"],
            r"backbone knows other tokens .*model\.tokenizer",
        ),
        (["start={eyes: RUN}"], r"start: a model has no part 'eyes': choose from: adapters, "),
        (["start={encoder: nowhere}"], r"nowhere: not a model: it does not exist"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    uninterrupted: tuple[Path, Model], tmp_path: Path, changes: list[str], error: str
) -> None:
    given = [change.replace("RUN", str(uninterrupted[0])) for change in changes]
    with pytest.raises((CheckpointError, ConfigError), match=error):
        train(toy_recipe(*given), tmp_path / "run", quiet=True)


def test_dropout_too_is_resumed_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Linear.forward
    dropped = lambda self, x: nn.functional.dropout(forward(self, x), 0.5, self.training)  # noqa: E731
    monkeypatch.setattr(Linear, "forward", dropped)
    recipe = toy_recipe("model.connector=linear", "model.tiling=whole")
    whole = train(recipe, tmp_path / "whole", quiet=True, stop_after=6)
    train(recipe, tmp_path / "broken", quiet=True, stop_after=5)
    assert same_weights(whole, train(recipe, tmp_path / "broken", resume=True, quiet=True, stop_after=6))


def test_a_finished_run_is_not_trained_again(uninterrupted: tuple[Path, Model]) -> None:
    out, model = uninterrupted
    written = (out / "log.jsonl").stat().st_mtime_ns
    assert same_weights(train(toy_recipe(), out, resume=True, quiet=True), model)
    assert (out / "log.jsonl").stat().st_mtime_ns == written


def test_old_checkpoints_make_room(uninterrupted: tuple[Path, Model]) -> None:
    found = sorted(path.name for path in (uninterrupted[0] / "checkpoints").iterdir())
    assert found == ["step-12", "step-8"]


def test_a_saved_model_needs_no_recipe(uninterrupted: tuple[Path, Model]) -> None:
    out, model = uninterrupted
    loaded, sample = load_model(out), Toy(Toy.Config())[0]
    assert loaded.config == model.config
    assert torch.equal(loaded.logits([sample])[0], model.logits([sample])[0])


def test_the_recipe_in_the_folder_is_the_recipe(uninterrupted: tuple[Path, Model]) -> None:
    from sensorium.config import load_yaml

    assert load_yaml(uninterrupted[0] / "recipe.yaml", Recipe) == toy_recipe()


@pytest.mark.parametrize(
    ("text", "steps", "kept"),
    [
        ('{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2, [1, 2]),
        ('{"step": 1}\n{"step": 2}\n{"st', 5, [1, 2]),
        ('{"step": 1}\n{"step": 2}', 5, [1]),
        ('{"step": 1}\nnoise\n{"step": 2}\n', 5, [1]),
        ("", 5, []),
    ],
)
def test_the_log_is_cut_back(text: str, steps: int, kept: list[int], tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(text)
    cut_back(file, steps)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == kept
    cut_back(tmp_path / "none.jsonl", 3)
