"""`sensorium data`: rows read again from their keys, figures of data, and what differs between two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy import toy_model, toy_recipe
from typer.testing import CliRunner

from sensorium.cli import app
from sensorium.data.loader import Loader
from sensorium.errors import ConfigError
from sensorium.pages.keys import write_rows
from sensorium.pages.stats import difference, figures
from sensorium.training.stage_run import reading

SMALL = ["--samples", "40"]


def test_a_row_is_shown_again_from_its_keys(tmp_path: Path) -> None:
    recipe = toy_recipe()
    (batch,) = Loader(reading(recipe, 0, toy_model().layout), recipe.stages[0].rows).next_step()
    written = write_rows(recipe, "all", batch.keys[1], tmp_path / "row.html").read_text()
    assert all(f"<b>{name}</b>" in written for name in batch.samples[1])
    assert written.count('class="card sample"') == len(batch.samples[1])


@pytest.mark.parametrize(
    ("stage", "keys", "message"),
    [
        ("0", ["0-5"], r"'0-5' is no key; expected SOURCE:INDEX, two numbers as in 0:1234"),
        ("0", ["4:0"], r"key 4:0: stage 'all' has the sources 0 to 0"),
        ("0", ["0:60"], r"key 0:60: source 0 has the samples 0 to 59"),
        ("word", ["0:1"], r"no stage 'word' in toy; choose from all, words"),
    ],
)
def test_keys_that_are_none(tmp_path: Path, stage: str, keys: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_rows(toy_recipe(), stage, keys, tmp_path / "row.html")


def test_figures_are_those_of_the_samples() -> None:
    recipe = toy_recipe("stages.0.data.0.source.broken=[3, 5]", "stages.0.data.0.source.truncated=[7]")
    (one,) = figures(recipe, "all", 10**6)
    layout = toy_model().layout
    source = recipe.stages[0].data[0].source.build()
    laid = [layout(source[i]) for i in range(60) if i not in (3, 5)]
    assert (one.size, one.read, sum(one.refused.values())) == (60, 60, 2)
    assert one.examples[next(iter(one.refused))].startswith("toy/")
    assert one.spread["tokens"]["most"] == max(map(len, laid))
    assert one.spread["pictures"] == {"least": 0, "5 %": 0, "median": 1, "95 %": 2, "most": 2}
    assert one.spread["aspect"]["most"] == pytest.approx(30 / 9)
    texts = [tuple(getattr(s, "text", getattr(s, "source", None)) for s in one.sample.segments) for one in laid]
    assert one.repeated == len(texts) - len(set(texts)) > 0


def test_a_difference_names_what_changed_and_what_is_in_both() -> None:
    before, after = (figures(toy_recipe(*changes), "0", 60) for changes in ((), ("stages.0.data.0.source.words=2",)))
    (row,) = difference(before, after)
    changed = {name for name, a, b in row["figures"] if a != b}
    assert "characters, most" in changed
    assert "pictures, most" not in changed
    questions = sum(i % 5 in (0, 2) for i in range(60))
    assert row["in both"] == len(set(before[0].prints) & set(after[0].prints)) <= 60 - questions
    assert all(a == b for _, a, b in difference(before, before)[0]["figures"])


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner()
    row = run.invoke(app, ["data", "show", "demo", "0:12", "2:5", "--stage", "instruct", "--out", str(tmp_path / "r")])
    assert (row.exit_code, (tmp_path / "r").read_text().count('class="card sample"')) == (0, 2)
    printed = run.invoke(app, ["data", "stats", "demo", *SMALL]).output
    assert "1,000,000 samples, 40 read" in printed
    assert "repeated 0; refused 0" in printed
    kept = tmp_path / "stats.json"
    assert run.invoke(app, ["data", "stats", "demo", "--json", str(kept), *SMALL]).exit_code == 0
    assert json.loads(kept.read_text())[0]["read"] == 40
    compared = run.invoke(app, ["data", "diff", str(kept), "demo", *SMALL]).output
    assert "no figure differs" in compared
    assert "samples in both, of those that were read: 40" in compared
    kept.write_text("[{}]")
    assert run.invoke(app, ["data", "diff", str(kept), "demo"]).exit_code == 2
