"""Curation's plumbing: columns that are written once, selections that recipes train on, noise that is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from toy import Toy
from typer.testing import CliRunner

from sensorium.cli import app
from sensorium.curation.columns import read_table
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.step import Kind, Scorer, Value
from sensorium.curation.table import Column, Table
from sensorium.data.images import open_picture
from sensorium.data.selection import Selection, identity
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.sources.noisy import Noisy
from sensorium.data.sources.selected import Selected
from sensorium.errors import ConfigError, DataError
from sensorium.recipe import Stage
from sensorium.sample import Sample, Text


class Lengths(Scorer, name="lengths"):
    """A column of every kind."""

    built: ClassVar[int] = 0
    interrupt_at: ClassVar[str] = ""

    class Config(Scorer.Config):
        factor: int = 1

        @property
        def columns(self) -> dict[str, Kind]:
            return {"n": "number", "t": "text", "v": "vector", "h": "hash", "hs": "hashes"}

    learns = True

    @classmethod
    def fit(cls, config: Config, folder: Path) -> None:
        (folder / "learnt").write_text("1")

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        Lengths.built += 1
        assert (fitted / "learnt").read_text() == "1"

    def read(self, sample: Sample) -> Sample:
        if sample.id == Lengths.interrupt_at:
            raise KeyboardInterrupt
        return sample

    def score(self, items: Sequence[Sample]) -> list[tuple[Value, ...]]:
        return [self._row(int(sample.id), len(items)) for sample in items]

    def _row(self, id: int, company: int) -> tuple[Value, ...]:
        many = np.array([id, 2**64 - 1], np.uint64)
        return self.config.factor * id, f"#{id}/{company}", np.array([id, 0.5], np.float32), 2**63 + id, many


SOURCE = Toy.Config(samples=23, broken=(4, 5, 20))


def columns(out: Path) -> Table:
    return read_table(out, [SOURCE])


def same(first: Table, second: Table) -> bool:
    return all(
        np.array_equal(first[name].known, second[name].known)
        and np.array_equal(first[name].values[first[name].known], second[name].values[first[name].known])
        for name in first.columns | second.columns
    )


# --- columns ---


def test_every_kind_of_value_comes_back_and_what_cannot_be_scored_is_null(tmp_path: Path) -> None:
    (written,) = score([SOURCE], Lengths.Config(batch=4), tmp_path, chunk=10)
    table = columns(tmp_path)
    readable = [i for i in range(23) if i not in SOURCE.broken]
    for column in table.columns.values():
        assert np.flatnonzero(column.known).tolist() == readable
    assert table["lengths.n"].values[readable].tolist() == readable
    assert [text.split("/")[0] for text in table["lengths.t"].values[readable]] == [f"#{i}" for i in readable]
    assert table["lengths.v"].values[readable].tolist() == [[i, 0.5] for i in readable]
    assert table["lengths.h"].values[readable].tolist() == [2**63 + i for i in readable]
    assert table["lengths.hs"].values[readable].tolist() == [[i, 2**64 - 1] for i in readable]
    lines = [json.loads(line) for line in (written.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["index"], line["reason"]) for line in lines] == [(i, f"toy/{i}: broken") for i in SOURCE.broken]


def test_asking_again_costs_nothing_and_an_interrupted_scoring_goes_on(tmp_path: Path) -> None:
    score([SOURCE], Lengths.Config(), tmp_path / "whole", chunk=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lengths, "interrupt_at", "12")
        with pytest.raises(KeyboardInterrupt):
            score([SOURCE], Lengths.Config(), tmp_path / "parts", chunk=5)
    (folder,) = (tmp_path / "parts").glob("lengths-*")
    assert len(list(folder.glob("*.parquet"))) == 2
    assert len((folder / "quarantine.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DataError, match="2 of 5 chunks"):
        columns(tmp_path / "parts")
    told = []
    score([SOURCE], Lengths.Config(), tmp_path / "parts", chunk=9, progress=lambda *told_: told.append(told_[1:]))
    assert told == [(15, 23), (20, 23), (23, 23)], "what was done counts, and chunks stay as they were"
    assert same(columns(tmp_path / "whole"), columns(tmp_path / "parts"))
    before = Lengths.built
    score([SOURCE], Lengths.Config(), tmp_path / "parts")
    assert Lengths.built == before


def test_other_data_or_settings_are_other_columns(tmp_path: Path) -> None:
    score([SOURCE], Lengths.Config(), tmp_path)
    score([SOURCE], Lengths.Config(factor=2, label="twice"), tmp_path)
    score([Toy.Config(samples=30)], Lengths.Config(), tmp_path)
    table = columns(tmp_path)
    assert len(table) == 23
    assert table["twice.n"].values[22] == 2 * table["lengths.n"].values[22] == 44
    score([SOURCE], Lengths.Config(factor=3), tmp_path)
    with pytest.raises(DataError, match=r"'lengths\.\w+' of several settings"):
        columns(tmp_path)


def test_too_many_bad_samples_end_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 bad samples, more than the limit of 2"):
        score([SOURCE], Lengths.Config(), tmp_path, max_bad=2)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    score([SOURCE], Lengths.Config(), tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean 'lengths\.hs'"):
        columns(tmp_path)["lengths.hss"]
    assert Column.of([1.0, float("nan")]).known.tolist() == [True, False]


# --- selections ---


def selection(file: Path, indices: list[int], weights: list[float] | None = None) -> Selected:
    given = None if weights is None else np.array(weights)
    Selection(identity(SOURCE), np.array(indices), given).write(file)
    return Selected(Selected.Config(source=SOURCE, selection=file))


def test_a_selection_is_a_source(tmp_path: Path) -> None:
    chosen = selection(tmp_path / "s.npz", [7, 3, 22])
    assert [chosen[i].id for i in range(len(chosen))] == ["7", "3", "22"]
    repeated = selection(tmp_path / "r.npz", [7, 3, 22], [2.0, 0.0, 1.0])
    assert [repeated[i].id for i in range(len(repeated))] == ["7", "7", "22"]
    many = selection(tmp_path / "m.npz", [6] * 2 + list(range(20)), [0.3] * 22)
    assert 0 < len(many) < 22
    stage = {"name": "a", "data": [{"source": chosen.config.to_dict()}], "steps": 1}
    assert Stage.from_dict(stage).data[0].source == chosen.config


def test_a_selection_of_something_else_is_refused(tmp_path: Path) -> None:
    selection(tmp_path / "s.npz", [1, 2])
    with pytest.raises(DataError, match="another source than 'toy'"):
        Selected(Selected.Config(source=Toy.Config(samples=24), selection=tmp_path / "s.npz"))
    with pytest.raises(DataError, match="beyond the source's 23"):
        selection(tmp_path / "b.npz", [1, 23])
    (tmp_path / "n.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a selection"):
        Selected(Selected.Config(source=SOURCE, selection=tmp_path / "n.npz"))


def test_a_selection_survives_moving_the_data(tmp_path: Path) -> None:
    from sensorium.data.sources.jsonl import JSONLines

    for place in ("here", "there"):
        (tmp_path / place / "set").mkdir(parents=True)
        (tmp_path / place / "set" / "data.jsonl").write_text('{"id": 1, "image": "a.png", "caption": "a"}\n')
    here, there = (JSONLines.Config(folder=Path("set"), root=tmp_path / place) for place in ("here", "there"))
    assert identity(here) == identity(there)
    (tmp_path / "there" / "set" / "data.jsonl").write_text('{"id": 2, "image": "a.png", "caption": "b"}\n')
    assert identity(here) != identity(there)


# --- known noise ---

NOISY = Noisy.Config(source=FactorWorld.Config(style="short", scenes=400))


def caption(sample: Sample) -> str:
    return next(s.text for s in sample.segments if isinstance(s, Text) and s.supervise)


def test_noise_is_what_it_says() -> None:
    source, clean = NOISY.build(), NOISY.source.build()
    kinds = [source[index].meta["noise"] for index in range(400)]
    assert kinds == [NOISY.build()[index].meta["noise"] for index in range(400)]
    for kind, share in NOISY.shares.items():
        assert abs(kinds.count(kind) / 400 - share) < 3 * (share * (1 - share) / 400) ** 0.5
    for index in range(60):
        sample, original = source[index], clean[index]
        scene, same_picture = sample.meta["scene"], sample.images[0].source == original.images[0].source
        assert sample.id == original.id
        match kinds[index]:
            case "":
                assert sample == original
            case "wrong-caption":
                assert same_picture
                assert caption(sample) == caption(clean[sample.meta["of"]]) != caption(original)
            case "near-duplicate":
                other = clean[sample.meta["of"]]
                assert (scene, caption(sample)) == (other.meta["scene"], caption(other))
                first, second = (np.asarray(open_picture(s.images[0].source), float) for s in (sample, other))
                assert 0 < np.abs(first - second).mean() < 40
                assert kinds[sample.meta["of"]] == ""
            case _:
                assert same_picture
                assert caption(sample) != caption(original)


def test_noise_of_a_mixture_without_clean_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"more than 0\.9"):
        Noisy.Config.from_dict({"source": "factorworld", "wrong_caption": 0.9, "off_topic": 0.1})


# --- the command line ---


def sensorium(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments), "--quiet"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_score_select_report_and_train_on_it(tmp_path: Path) -> None:
    first = {"type": "noisy", "source": {"type": "factorworld", "style": "short", "scenes": 120}}
    second = {"type": "factorworld", "style": "short", "scenes": 40, "seed": 5}
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"sources": [first, second]}))
    scores, best = tmp_path / "scores", tmp_path / "best"
    sensorium("score", tmp_path / "pool.yaml", "--with", "text-quality", "--out", scores)
    said = sensorium("select", scores, "--with", "top", "column=text-quality.words", "--share", "0.25", "--out", best)
    assert "40 of 160 samples (25.0 %)" in said
    data = yaml.safe_load((best / "data.yaml").read_text())["data"]
    stage = Stage.from_dict({"name": "best", "data": data, "steps": 1})
    chosen = [share.source.build() for share in stage.data]
    kept = [len(caption(source[i]).split()) for source in chosen for i in range(len(source))]
    everything = [config.build() for config in Pool.at(scores).sources]
    lengths = sorted(len(caption(source[i]).split()) for source in everything for i in range(len(source)))
    assert sorted(kept) == lengths[-40:]
    sensorium("report", scores, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h2>text-quality.words</h2>" in page
    assert page.count("data:image/png") >= 4 * 3 * 6


def test_scores_of_other_sources_are_not_mixed(tmp_path: Path) -> None:
    Pool(sources=(Toy.Config(samples=2),)).claim(tmp_path)
    Pool(sources=(SOURCE,)).claim(tmp_path)  # nothing was scored yet
    score([SOURCE], Lengths.Config(), tmp_path)
    Pool(sources=(SOURCE,)).claim(tmp_path)
    with pytest.raises(ConfigError, match="the scores of other sources"):
        Pool(sources=(Toy.Config(samples=1),)).claim(tmp_path)
    with pytest.raises(ConfigError, match="holds no scores"):
        Pool.at(tmp_path / "none")
    assert len(Pool.find("demo", 1).sources) == 4
    with pytest.raises(ConfigError, match="--stage 7"):
        Pool.find("demo", 7)
