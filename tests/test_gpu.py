"""On a GPU the same numbers as on the CPU, which is the reference. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sensorium.model import compose
from sensorium.recipe import RECIPES, Recipe, find_recipe
from sensorium.training.stage_run import StageRun
from sensorium.training.trainer import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MINIATURES = sorted(name for name in RECIPES.names() if name.endswith("-mini") or name.startswith("demo"))
EXACT = {"precision": "float32", "lanes": 1}


def in_float32(recipe: Recipe, steps: int | None = None) -> Recipe:
    """The recipe with the same arithmetic on every device, and stages of at most `steps` steps. What is resized is not
    rounded to levels, which at halves each device does its own way."""
    if recipe.model.encoder.type_name == "s2":
        recipe = recipe.override("model.encoder.antialias=false")
    stages = [
        stage.model_copy(update=EXACT | ({} if steps is None else {"steps": min(stage.steps, steps)}))
        for stage in recipe.stages
    ]
    return recipe.model_copy(update={"stages": tuple(stages), "save_every": 1000})


def first_gradients(recipe: Recipe, number: int, device: str, out: Path) -> tuple[float, dict[str, Tensor]]:
    """The loss and gradients of a stage's first step on a model whose every weight has been disturbed, so that gates
    which begin at zero are open."""
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    model = compose(recipe.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    run = StageRun(recipe, number, model.to(device), out)
    loss, _ = run.accumulate(run.loader.next_step())
    return loss, {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", MINIATURES)
def test_each_stage_of_a_miniature_has_the_gradients_of_the_cpu(name: str, tmp_path: Path) -> None:
    recipe = in_float32(find_recipe(name))
    for number, stage in enumerate(recipe.stages):
        if stage.steps == 0 or stage.edits:
            continue
        there, gradients = first_gradients(recipe, number, "cuda", tmp_path / f"cuda-{number}")
        here, expected = first_gradients(recipe, number, "cpu", tmp_path / f"cpu-{number}")
        assert there == pytest.approx(here, rel=1e-4), stage.name
        assert gradients.keys() == expected.keys()
        whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
        for parameter, gradient in expected.items():
            # What a norm behind it takes out again has no gradient but rounding.
            error = (gradients[parameter] - gradient).norm() / gradient.norm().clamp(min=1e-3 * whole)
            assert error < 2e-3, f"{stage.name}: {parameter} {error:.2e}"


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        recipe = in_float32(find_recipe("demo"), steps=6).override("save_every=4")
        whole = train(recipe, tmp_path / "whole", quiet=True)
        train(recipe, tmp_path / "cut", quiet=True, stop_after=9)
        resumed = train(recipe, tmp_path / "cut", resume=True, quiet=True, workers=2)
    finally:
        torch.use_deterministic_algorithms(False)
    for (name, expected), found in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected.cpu(), found.cpu()), name


def test_bfloat16_is_what_a_gpu_trains_in_and_near_the_exact_loss(tmp_path: Path) -> None:
    recipe = find_recipe("demo")
    assert StageRun(recipe, 1, compose(recipe.model).to("cuda"), tmp_path / "any").dtype == torch.bfloat16
    rounded, _ = first_gradients(recipe, 1, "cuda", tmp_path / "rounded")
    exact, _ = first_gradients(in_float32(recipe), 1, "cpu", tmp_path / "exact")
    assert rounded == pytest.approx(exact, rel=2e-2)
