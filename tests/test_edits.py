"""Adapters and averages between stages: what they keep equal, what they train, and that a run with them goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import Toy, png, toy_model, toy_recipe

import sensorium as sm
from sensorium.adapters.lora import LoRA
from sensorium.checks import run_checks
from sensorium.data.batch import collate
from sensorium.edits.adapters import AttachAdapters, MergeAdapters
from sensorium.edits.reconfigure import Reconfigure
from sensorium.errors import ConfigError
from sensorium.model import Model
from sensorium.recipe import find_recipe
from sensorium.training.optimisation import set_trainable
from sensorium.training.trainer import train

LORA = "{type: lora, rank: 4, alpha: 8}"


def nothing(stage: str) -> Model:
    raise AssertionError(stage)


def logits(model: Model) -> torch.Tensor:
    laid = [model.layout(Toy(Toy.Config())[index]) for index in range(3)]
    with torch.no_grad():
        return model.head(model(collate([laid], model.layout)))


def attached(**settings: Any) -> Model:
    model = toy_model()
    config = AttachAdapters.Config(adapters=LoRA.Config(rank=4, alpha=8, **settings))
    config.build()(model, iter(()), nothing)
    return model.eval()


def test_attached_they_change_nothing_and_merged_they_change_nothing_more() -> None:
    plain = logits(toy_model().eval())
    model = attached()
    assert torch.equal(logits(model), plain), "B is zero"
    for up in model.adapters.get_submodule("up").parameters():
        torch.nn.init.normal_(up)
    adapted = logits(model)
    assert not torch.allclose(adapted, plain, atol=1e-2)
    MergeAdapters.Config().build()(model, iter(()), nothing)
    torch.testing.assert_close(logits(model), adapted, rtol=1e-4, atol=1e-4)
    assert model.config == toy_model().config
    assert not list(model.adapters.parameters())


def test_a_map_by_hand() -> None:
    model = attached(targets=("gate",))
    gate = model.backbone.layers[0].get_submodule("gate")
    down, up = (model.adapters.get_submodule(name).get_parameter("0/gate") for name in ("down", "up"))
    torch.nn.init.normal_(up)
    x = torch.randn(3, 32)
    torch.testing.assert_close(gate(x), x @ (gate.weight + 2 * up @ down).T)  # alpha / rank = 2
    assert {name.split("/")[1] for name in model.adapters.get_submodule("down")} == {"gate"}


def test_they_alone_can_be_trained() -> None:
    model = attached()
    set_trainable(model, toy_recipe("stages.0.trainable=[adapters]").stages[0])
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {f"adapters.{name}" for name, _ in model.adapters.named_parameters()}
    assert len(trained) == 2 * 2 * 7, "A and B of seven linear maps in two layers"


def test_an_unknown_map_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="is called 'q_proj'; there are down, gate, k, out, q, up, v"):
        attached(targets=("q_proj",))
    with pytest.raises(ConfigError, match="has adapters 'lora'; merge them first"):
        AttachAdapters.Config().build()(attached(), iter(()), nothing)


def test_they_are_saved_and_loaded(tmp_path: Path) -> None:
    model = attached()
    torch.nn.init.normal_(model.adapters.get_submodule("up").get_parameter("1/out"))
    model.save(tmp_path / "m")
    assert torch.equal(logits(sm.load(tmp_path / "m")), logits(model))


def two_runs() -> Any:
    """Bunny's way: two trainings of adapters from the same start, merged, then averaged."""
    recipe = toy_recipe()
    first, second = (stage.to_dict() for stage in recipe.stages)
    tuned = {**second, "muon_lr": None, "steps": 3, "trainable": ["connector", "adapters"]}
    attach = {"type": "attach-adapters", "adapters": {"type": "lora", "rank": 4, "dropout": 0.1}}
    merged = {**tuned, "steps": 0, "edits": ["merge-adapters"]}
    stages = [
        {**first, "name": "start", "steps": 3},
        {**tuned, "name": "one", "edits": [attach]},
        {**merged, "name": "one-merged"},
        {**tuned, "name": "two", "edits": [attach], "starts_from": "start", "lr": 1e-3},
        {**merged, "name": "mean", "edits": ["merge-adapters", {"type": "average", "shares": {"one-merged": 0.25}}]},
    ]
    return recipe.from_dict({**recipe.to_dict(), "stages": stages, "save_every": 2})


def test_two_runs_from_one_start_are_averaged_and_an_interrupted_one_is_the_same(tmp_path: Path) -> None:
    recipe = two_runs()
    mean = train(recipe, tmp_path / "whole", quiet=True)
    kept = sorted(path.name for path in (tmp_path / "whole" / "stages").iterdir())
    assert kept == ["one-merged", "start"], "models that a later stage reads, and no others"
    for stop in (2, 5, 8):
        train(recipe, tmp_path / "broken", resume=stop != 2, quiet=True, stop_after=stop)
    resumed = train(recipe, tmp_path / "broken", resume=True, quiet=True)
    for name, weight in mean.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("whole", "broken")]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == losses[1]
    one = sm.load(tmp_path / "whole" / "stages" / "one-merged")
    two = (4 * mean.backbone.get_parameter("norm.weight") - one.backbone.get_parameter("norm.weight")) / 3
    start = sm.load(tmp_path / "whole" / "stages" / "start")
    torch.testing.assert_close(two, start.backbone.get_parameter("norm.weight"), rtol=1e-5, atol=1e-5)


def test_an_edit_draws_the_same_after_a_resume_at_the_border_of_its_stage(tmp_path: Path) -> None:
    recipe = two_runs().override("save_every=3")
    whole = train(recipe, tmp_path / "whole", quiet=True)
    train(recipe, tmp_path / "broken", quiet=True, stop_after=4)
    assert [path.name for path in (tmp_path / "broken" / "checkpoints").iterdir()] == ["step-3"], "the border"
    resumed = train(recipe, tmp_path / "broken", resume=True, quiet=True)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_stages_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match=r"stages.1 reads the model of stage 'al': did you mean 'all'\?"):
        toy_recipe("stages.1.starts_from=al")
    with pytest.raises(ConfigError, match="there are two stages 'all'"):
        toy_recipe("stages.1.name=all")


def test_between_stages_pictures_may_become_larger() -> None:
    """From whole pictures to tiles, and from 16 to 32 pixels a tile: weights stay, positions are interpolated."""
    model = toy_model("model.tiling=whole")
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    changes = ("tiling=grid", "encoder.image_size=32")
    Reconfigure.Config(changes=changes).build()(model, iter(()), nothing)
    assert model.config == toy_model("model.tiling=grid", "model.encoder.image_size=32").config
    picture = [sm.Image(png("red", (64, 64))), sm.Text("what?")]
    assert len(model.logits([picture])[0]) > len(toy_model("model.tiling=whole").logits([picture])[0]) + 4 * 4 - 1
    for name, weight in model.state_dict().items():
        if name.startswith("assembly"):
            assert not weight.any(), "tiles' places are new, and begin at zero"
        elif name == "encoder.positions":
            assert weight.shape == (1, 64, 16)
            assert abs(weight.mean() - weights[name].mean()) < 2e-3
        else:
            assert torch.equal(weight, weights[name]), name


def test_what_the_weights_do_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"connector.latents has shape \[4, 16\], the changes need \[8, 16\]"):
        Reconfigure.Config(changes=("connector.latents=8",)).build()(toy_model(), iter(()), nothing)
    with pytest.raises(ConfigError, match=r"'backbone\.depth=3' is of a part that keeps its config"):
        Reconfigure.Config.from_dict({"changes": ["backbone.depth=3"]})


def test_a_stage_reads_as_its_edits_left_the_model(tmp_path: Path) -> None:
    edits = "[{type: reconfigure, changes: [tiling=grid]}]"
    recipe = toy_recipe("model.tiling=whole", f"stages.1.edits={edits}", "save_every=8")
    whole = train(recipe, tmp_path / "whole", quiet=True)
    assert whole.config.tiling.type_name == "grid"
    train(recipe, tmp_path / "broken", quiet=True, stop_after=9)
    resumed = train(recipe, tmp_path / "broken", quiet=True, resume=True)
    assert all(torch.equal(w, resumed.state_dict()[name]) for name, w in whole.state_dict().items())


@pytest.mark.parametrize(
    ("name", "check"), [("blip2-mini", "gradients"), ("blip2-mini", "no-images"), ("open-qwen2vl-mini", "overfit")]
)
def test_checks_see_a_stage_with_what_the_stages_before_it_changed(name: str, check: str) -> None:
    """The first drops a part in an earlier stage, the second makes another number of tokens than at the start."""
    *_, verdict = run_checks(find_recipe(name), [check], samples=8)
    assert verdict.name == check
    assert verdict.passed, verdict.detail
