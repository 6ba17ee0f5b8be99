"""Every check of `sensorium check` passes on small recipes of different kinds."""

import os
from pathlib import Path

import pytest
import torch
from toy import toy_recipe

from sensorium.checks import check, check_names, check_title, run_checks
from sensorium.checks.subject import LARGE, Subject
from sensorium.errors import ConfigError
from sensorium.model import ModelConfig
from sensorium.recipe import Recipe, find_recipe

ALL_PARTS = "[encoder,connector,fusion,backbone,head]"
KINDS = {
    "tiled, frozen in its second stage": (),
    "one tile, mlp, untied head": ("model.tiling=whole", "model.connector=mlp", "model.head.tied=false"),
    "blind, truncating": ("blind=true", "model.overflow=truncate", "model.context=30"),
    "bfloat16, chunked loss, nothing frozen": (
        "stages.0.precision=bfloat16",
        "stages.0.objective.chunk=3",
        f"stages.1.trainable={ALL_PARTS}",
    ),
}
KNOWN: dict[str, dict[str, str]] = {}


def verdicts(kind: str) -> dict[str, str]:
    """Failures by check of a kind of recipe, run once."""
    if kind not in KNOWN:
        found = list(run_checks(toy_recipe(*KINDS[kind])))
        assert [verdict.name for verdict in found] == ["full-size", "compose", *check_names()]
        assert all(verdict.detail and verdict.seconds >= 0 for verdict in found)
        KNOWN[kind] = {verdict.name: "" if verdict.passed else verdict.detail for verdict in found}
    return KNOWN[kind]


@pytest.mark.parametrize("name", ["full-size", "compose", *check_names()])
@pytest.mark.parametrize("kind", KINDS)
def test_holds(kind: str, name: str) -> None:
    assert verdicts(kind)[name] == ""


def test_every_check_says_what_it_holds() -> None:
    for name in ["full-size", "compose", *check_names()]:
        assert check_title(name).endswith((".", "is")) or ":" in check_title(name)


def test_only_the_named_checks_run() -> None:
    assert [verdict.name for verdict in run_checks(toy_recipe(), only=["labels"])] == ["compose", "labels"]
    with pytest.raises(ConfigError, match="did you mean 'packing'"):
        list(run_checks(toy_recipe(), only=["packin"]))


def test_the_longest_checks_may_run_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.LONG == ("resume", "frozen")
    for name in ("resume", "labels"):
        monkeypatch.setitem(check._CHECKS, name, lambda subject: f"in process {os.getpid()}")
    monkeypatch.setitem(check._CHECKS, "frozen", lambda subject: os._exit(9))
    names = ["resume", "labels", "frozen"]
    compose, resume, labels, frozen = run_checks(toy_recipe(), only=names, beside=True)
    assert [compose.name, resume.name, labels.name, frozen.name] == ["compose", *names]
    assert labels.detail == f"in process {os.getpid()}" != resume.detail
    assert resume.passed
    assert not frozen.passed
    assert "its process ended with 9" in frozen.detail


def test_a_recipe_that_cannot_be_read_has_one_verdict() -> None:
    recipe = toy_recipe("stages.0.data.0.source.samples=0", "stages.1.data.0.source.samples=0")
    full_size, verdict = run_checks(recipe)
    assert full_size.passed
    assert not verdict.passed
    assert "no samples" in verdict.detail


def test_a_recipe_that_refuses_much_of_its_data_is_wrong() -> None:
    _, verdict = run_checks(toy_recipe("model.context=20"))
    assert not verdict.passed
    assert "samples can be used and" in verdict.detail
    assert "do not fit the context of 20" in verdict.detail


def test_checks_leave_the_process_as_it_was() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    list(run_checks(toy_recipe(), only=["leak", "labels"]))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_the_demo_holds() -> None:
    recipe: Recipe = find_recipe("demo")
    assert [v for v in run_checks(recipe) if not v.passed] == []


def test_a_large_recipe_is_counted_at_full_size_and_checked_as_its_miniature() -> None:
    """A model of 1.7 G parameters whose weights and pictures are nowhere: counted by hand, and on the meta device."""
    llama = {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
             "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 49152}  # fmt: skip
    large = toy_recipe().model.override("connector=mlp", "context=512", "encoder.width=32", "encoder.num_heads=2")
    backbone = {"type": "hf", "path": "nobody/has-this", "architecture": llama}
    model = {**large.to_dict(), "backbone": backbone, "tokenizer": {"type": "hf", "path": "nobody/has-this"}}
    recipe = toy_recipe().model_copy(update={"model": ModelConfig.from_dict(model), "miniature": "demo"})
    verdict, compose, labels = run_checks(recipe, only=["full-size", "labels"])
    assert verdict.passed, verdict.detail
    layer = 4 * 2048**2 + 3 * 2048 * 8192 + 2 * 2048
    assert f"backbone {(24 * layer + 2 * 49152 * 2048 + 2048) / 1e9:.2f} G" in verdict.detail
    assert "640x480 5 tiles, 80 tokens" in verdict.detail
    assert "stage words: " in verdict.detail
    assert compose.passed
    assert labels.passed, "on the miniature"


@pytest.mark.parametrize(("connector", "width"), [("linear", 32), ("identity", 64)])
def test_a_large_model_is_checked_in_small(connector: str, width: int, tmp_path: Path) -> None:
    """Narrow, too, but for a connector that needs the widths that there are."""
    llama = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
             "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 400_000}  # fmt: skip
    model = toy_recipe().model.override("encoder.width=64", "context=128", f"connector={connector}").to_dict()
    config = ModelConfig.from_dict({**model, "backbone": {"type": "hf", "architecture": llama}})
    recipe = toy_recipe().model_copy(update={"model": config})
    subject = Subject(recipe, tmp_path, 8)
    assert subject.full_size > LARGE
    assert (len(subject.base.backbone.layers), subject.base.config.backbone.dim) == (2, width)
    assert all(verdict.passed for verdict in run_checks(recipe, only=["leak", "checkpoint"]))
