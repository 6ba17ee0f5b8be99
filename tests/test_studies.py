"""Studies: verdicts by hand, intervals beside scipy's, runs that resume and pair by seed, and ours at tiny size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import Toy, toy_model, toy_recipe
from typer.testing import CliRunner

from sensorium.cli import app
from sensorium.config import load_yaml
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.errors import CheckpointError, ConfigError, DataError
from sensorium.evaluation.suite import Metric
from sensorium.evaluation.suites.factorworld import FactorWorldSuite
from sensorium.evaluation.suites.likelihood import LikelihoodSuite, ratio
from sensorium.pages.study import write_study
from sensorium.recipe import Recipe
from sensorium.studies import bunny, mmssr, selection, study_run
from sensorium.studies.ablations import Continued
from sensorium.studies.choosing import Chosen
from sensorium.studies.spoilt import Size, Spoilt, selector
from sensorium.studies.study import STUDIES, Claim, Study, mean, t_quantile
from sensorium.studies.study_run import Outcome, examined, reproduce
from sensorium.training.checkpoint import load_model
from sensorium.training.trainer import begin

SUITE = "{type: likelihood, sources: {all: {type: toy, samples: 4}}}"
STAGE = "name: all, data: [{source: toy}], steps: 6, warmup: 0, length: 128, rows: 2, buffer: 8, precision: float32"
SHORT = f"stages=[{{{STAGE}}}]"


def claim(winner: str = "a", loser: str = "b", least: float = 0.0) -> Claim:
    return Claim("a beats b", "a paper, section 1", winner, loser, least)


def toy(*assignments: str) -> Recipe:
    return toy_recipe(SHORT, f"evaluation=[{SUITE}]", *assignments)


def toy_study(**changes: Any) -> Study:
    arms = {"a": toy("stages.0.lr=1e-2"), "b": toy("stages.0.lr=1e-5")}
    return replace(Study("toy", "learning against hardly any", arms, (claim(),), "likelihood"), **changes)


# the noun


@pytest.mark.parametrize(
    ("ci95", "least", "verdict"),
    [
        ((0.01, 0.2), 0.0, "reproduced"),
        ((0.01, 0.2), 0.01, "not reproduced"),  # the lead may be no greater than what was claimed
        ((0.0, 0.2), 0.0, "not reproduced"),
        ((-0.1, 0.2), 0.0, "not reproduced"),
        ((-0.2, 0.0), 0.0, "not reproduced"),
        ((-0.2, -0.01), 0.0, "contradicted"),
        ((0.02, 0.03), 0.05, "not reproduced"),  # it leads, by less than was claimed
    ],
)
def test_the_interval_decides(ci95: tuple[float, float], least: float, verdict: str) -> None:
    assert claim(least=least).judge(Metric(sum(ci95) / 2, 3, ci95)) == verdict


def test_student_s_interval_is_scipy_s() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 4, 9, 30):
        assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-6)
    values = [0.31, 0.35, 0.33, 0.42]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean(values).ci95 == pytest.approx((low, high))


def test_runs_are_paired_by_seed() -> None:
    """What seeds have in common is no doubt about the lead: 0.1 with every seed is certain, however seeds differ."""
    study, values = toy_study(), {"a": [0.2, 0.5, 0.9], "b": [0.1, 0.4, 0.8]}
    lead = study.lead(claim(), values)
    assert (lead.value, *lead.ci95) == pytest.approx((0.1, 0.1, 0.1))
    assert claim().judge(lead) == "reproduced"
    assert claim("b", "a").judge(study.lead(claim("b", "a"), values)) == "contradicted"
    mixed = study.lead(claim(), {**values, "b": [0.4, 0.8, 0.1]})
    assert claim().judge(mixed) == "not reproduced"


def test_lower_can_be_better() -> None:
    values = {"a": [0.2, 0.5, 0.9], "b": [0.1, 0.4, 0.8]}
    study = toy_study(better="lower")
    assert study.lead(claim("b", "a"), values).value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claims": (claim("a", "c"),)}, "a claim names the arm 'c'"),
        ({"claims": ()}, "has no claim"),
        ({"arms": {"a": toy(), "../b": toy()}}, "an arm cannot be called '../b'"),
        ({"arms": {"a": toy(), "shared": toy()}}, "an arm cannot be called 'shared'"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        toy_study(**changes)


# running


def test_a_study_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, told = toy_study(), []
    outcome = reproduce(study, tmp_path, seeds=2, quiet=True, say=told.append)
    written = json.loads((tmp_path / "study.json").read_text())
    assert written == json.loads(json.dumps(outcome.to_dict()))
    assert written["claims"][0]["verdict"] == outcome.findings[0].verdict
    assert [load_yaml(tmp_path / "a" / f"seed-{n}" / "recipe.yaml", Recipe).seed for n in range(2)] == [0, 1]
    assert len(set(outcome.values["a"])) == 2
    assert min(outcome.values["a"]) > max(outcome.values["b"])
    trained = []

    def counted(recipe: Recipe, folder: Path, **options: Any) -> Any:
        trained.append(folder.relative_to(tmp_path).as_posix())
        return train(recipe, folder, **options)

    train = study_run.train
    monkeypatch.setattr(study_run, "train", counted)
    more = reproduce(study, tmp_path, seeds=3, quiet=True)
    assert trained == ["a/seed-2", "b/seed-2"]
    assert more.values["a"][:2] == outcome.values["a"]
    (tmp_path / "b" / "seed-1" / "eval.json").unlink()
    assert reproduce(study, tmp_path, seeds=2, quiet=True).values == outcome.values
    assert trained[2:] == ["b/seed-1"]


def test_a_finished_run_of_something_else_is_refused(tmp_path: Path) -> None:
    examined(toy(), tmp_path / "run", quiet=True)
    with pytest.raises(CheckpointError, match="another recipe"):
        examined(toy("stages.0.lr=1e-2"), tmp_path / "run", quiet=True)


def test_arms_of_a_claim_have_the_same_budget(tmp_path: Path) -> None:
    uneven = toy_study(arms={"a": toy(), "b": toy("stages.0.steps=3")})
    with pytest.raises(ConfigError, match=r"a is trained on 1,536 tokens and b on 768"):
        reproduce(uneven, tmp_path, seeds=2, quiet=True)
    assert not (tmp_path / "a").exists()


def test_a_metric_that_no_suite_reports_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report no 'likelyhood': did you mean 'likelihood'"):
        reproduce(toy_study(metric="likelyhood"), tmp_path, seeds=2, quiet=True)


def test_one_seed_has_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        reproduce(toy_study(), tmp_path, seeds=1)


def test_the_page_shows_every_claim_and_escapes_it(tmp_path: Path) -> None:
    study = toy_study(claims=(Claim("<b>a</b> wins", "a paper", "a", "b"), claim("b", "a")))
    outcome = Outcome(study, {"a": [-1.0, -1.1], "b": [-2.0, -2.1]}, {"a": 8, "b": 8})
    text = write_study(outcome, tmp_path / "study.html").read_text()
    assert "&lt;b&gt;a&lt;/b&gt; wins" in text
    assert ">reproduced<" in text
    assert ">contradicted<" in text


# ours


TINY = {"pool": 120, "eyes": 1, "learner": 1}
STUDY_SIZES = {
    "selection": lambda: selection.of_size(Size(kept=20, clean=16, dfn=1, captioner=1, captions=2, **TINY)),
    "bunny": lambda: bunny.of_size(Size(kept=20, clean=16, dfn=1, captions=2, **TINY)),
    "mmssr": lambda: mmssr.of_size(mmssr.Size(samples=2, annotated=0.5, **TINY)),
}


def test_ours_are_found_by_name() -> None:
    assert set(STUDY_SIZES) <= set(STUDIES.names())
    assert all(STUDIES[name]().name == name for name in STUDIES.names())
    with pytest.raises(ConfigError, match=r"unknown study 'buny': did you mean 'bunny'"):
        STUDIES["buny"]


@pytest.mark.parametrize("name", sorted(STUDY_SIZES))
def test_ours_compare_selections_of_one_size(name: str, tmp_path: Path) -> None:
    study = STUDY_SIZES[name]()
    assert set(study.arms) == set(STUDIES[name]().arms)
    recipes = {arm: study_run.prepared(study, arm, 0, tmp_path / "shared") for arm in study.arms}
    sizes = {arm: sum(len(share.source.build()) for share in recipe.stages[0].data) for arm, recipe in recipes.items()}
    for one in study.claims:
        assert sizes[one.winner] == sizes[one.loser] > 0
    assert len({str(recipe.start) for recipe in recipes.values()}) == 1
    assert study.metric in examined(recipes[study.claims[0].loser], tmp_path / "run", quiet=True)


ABLATIONS = {
    "resampler": {"model.connector"},
    "gates": {"model.fusion"},
    "resolution": {"model.tiling"},
    "tile-places": {"model.assembly"},
    "tokens": {"stages"},
}
"""Where the arms of a study of one part differ."""


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_an_ablation_changes_what_it_is_about_and_nothing_else(name: str) -> None:
    arms = [arm.recipe if isinstance(arm, Continued) else arm for arm in STUDIES[name]().arms.values()]
    recipes = [arm.to_dict() for arm in arms if isinstance(arm, Recipe)]
    assert len(recipes) == len(arms)
    differ = {key for key in recipes[0] if any(recipe[key] != recipes[0][key] for recipe in recipes)}
    parts = {f"model.{key}" for key in recipes[0]["model"] if len({str(r["model"][key]) for r in recipes}) > 1}
    assert (differ - {"model"}) | parts == ABLATIONS[name]


def test_arms_go_on_from_parts_that_they_share(tmp_path: Path) -> None:
    base = toy_recipe("stages.0.steps=2")
    changes = {"as-it-is": (), "mlp": ("model.connector=mlp",)}
    arms = {name: Continued(base, 1, ("encoder", "backbone"), changed) for name, changed in changes.items()}
    recipes = [arm(3, tmp_path) for arm in arms.values()]
    assert recipes == [arm(3, tmp_path) for arm in arms.values()], "nothing is trained twice"
    assert [stage.name for stage in recipes[0].stages] == ["words"]
    begun = load_model(tmp_path / "begun-3")
    for recipe in recipes:
        model = begin(recipe)
        assert model.config.connector == recipe.model.connector
        for part in ("encoder", "backbone"):
            own, wanted = getattr(model, part).state_dict(), getattr(begun, part).state_dict()
            assert all(torch.equal(own[key], wanted[key]) for key in wanted)


def test_a_perfect_filter_keeps_what_is_not_spoilt(tmp_path: Path) -> None:
    study = STUDY_SIZES["selection"]()
    (share,) = study_run.prepared(study, "clean", 0, tmp_path).stages[0].data
    kept = share.source.build()
    assert {kept[index].meta["noise"] for index in range(len(kept))} == {""}


def test_a_selection_of_another_size_is_refused(tmp_path: Path) -> None:
    words = {"type": "threshold", "column": "text-quality.words"}
    short = selector({"type": "chain", "steps": [{**words, "most": 2}, {"type": "random"}]})
    task = Spoilt(Size(kept=30, clean=8, dfn=1, **TINY), selection.NOISE)
    with pytest.raises(DataError, match=r"short keeps \d+ samples and 30 are compared"):
        Chosen("short", task, short, 30)(0, tmp_path)


# what they are examined by


def test_likelihood_is_that_of_the_model_s_logits() -> None:
    model, source = toy_model(), Toy(Toy.Config(samples=4))
    exam = LikelihoodSuite.Config(sources={"few": Toy.Config(samples=2), "more": Toy.Config()}, samples=4).build()
    found = exam.run(model).metrics
    scores = []
    for sample in (source[index] for index in range(4)):
        laid, (logits,) = model.layout(sample), model.logits([sample])
        places = np.flatnonzero(laid.supervised)
        log = logits.log_softmax(-1)[places - 1].numpy()
        scores.append(log[np.arange(len(places)), laid.ids[places]])
    assert found["likelihood/more"].value == pytest.approx(np.concatenate(scores).mean(), rel=1e-4)
    assert found["likelihood/few"].value == pytest.approx(np.concatenate(scores[:2]).mean(), rel=1e-4)
    both = (found["likelihood/few"].value + found["likelihood/more"].value) / 2
    assert found["likelihood"].value == pytest.approx(both)
    assert [found[name].n for name in ("likelihood", "likelihood/few", "likelihood/more")] == [6, 2, 4]
    assert exam.run(model, blind=True).metrics["likelihood"].value != found["likelihood"].value


def test_the_interval_of_a_ratio_is_the_mean_s_where_samples_are_alike() -> None:
    """With one token a sample, a ratio of sums is a mean of samples; and repeating tokens tells nothing new."""
    totals = [-1.0, -2.0, -4.0, -5.0]
    one, many = ratio(totals, [1] * 4), ratio([7 * total for total in totals], [7] * 4)
    half = 1.959964 * np.std(totals, ddof=1) / 2
    assert (one.value, *one.ci95) == pytest.approx((-3, -3 - half, -3 + half))
    assert many == one


def test_captions_alone_can_be_examined() -> None:
    suite = FactorWorldSuite.Config(world=FactorWorld.Config(size=(16, 16)), questions=0, captions=2).build()
    assert set(suite.run(toy_model()).metrics) == {"caption/precision", "caption/recall", "caption/f1"}


# the command line


def test_reproduce_lists_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = CliRunner().invoke(app, ["reproduce"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in STUDY_SIZES)
    monkeypatch.setitem(STUDIES.functions, "toy", toy_study)
    words = ["reproduce", "toy", "--seeds", "2", "--out", str(tmp_path / "toy"), "--quiet"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "a over b" in shown.stdout
    asked = CliRunner().invoke(app, [*words, "--json", "-"])
    assert json.loads(asked.stdout) == json.loads((tmp_path / "toy" / "study.json").read_text())
    assert (tmp_path / "toy" / "study.html").is_file()
