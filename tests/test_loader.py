"""The loader: the same rows whoever reads them, from any state on, and nothing lost on the way."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import toy_model, toy_recipe

from sensorium.config import load_parts
from sensorium.data.batch import Batch
from sensorium.data.loader import Loader, Rank
from sensorium.data.quarantine import Quarantine
from sensorium.data.stream import Reading, Stream
from sensorium.errors import DataError
from sensorium.model import compose
from sensorium.training.stage_run import reading
from sensorium.training.trainer import train


def toy_reading(*changes: str) -> Reading:
    return reading(toy_recipe(*changes), 0, toy_model().layout)


def rows_of(loader: Loader, steps: int) -> list[list[tuple[str, ...]]]:
    """The keys of each row of each step."""
    return [[keys for batch in loader.next_step() for keys in batch.keys] for _ in range(steps)]


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return not any(one.differs_from(other) for one, other in zip(ours, theirs, strict=True))


def random_reading(dice: random.Random) -> Reading:
    shares = [
        {
            "source": {"type": "toy", "samples": dice.randrange(5, 60), "broken": dice.sample(range(60), 3)},
            "weight": dice.choice([0.3, 1, 2]),
        }
        for _ in range(dice.randrange(1, 4))
    ]
    changes = {
        "rows": dice.choice([2, 4, 8]),
        "micro_rows": 1,
        "buffer": dice.choice([1, 3, 16]),
        "length": dice.choice([96, 128]),
        "packing": dice.choice(["fullest", "first-fit", "first-fit-decreasing", "best-fit-decreasing"]),
        "tiles": dice.choice([None, 6]),
        "balance": dice.choice(["samples", "tokens"]),
        "temperature": dice.choice([None, 1.0, 3.0]),
    }
    assignments = [f"stages.0.{key}={json.dumps(value)}" for key, value in changes.items()]
    return toy_reading(f"seed={dice.randrange(1000)}", f"stages.0.data={json.dumps(shares)}", *assignments)


@pytest.mark.parametrize("case", range(200))
def test_interrupted_anywhere_and_resumed_by_others_it_goes_on_with_the_same_rows(case: int) -> None:
    """Elastic: saved by some ranks and workers at some step, gone on by others; the order of the whole stays what it
    was. One case in twenty has processes for workers, the others read where they are."""
    dice = random.Random(case)
    whole = random_reading(dice)
    before, after = dice.randrange(5), dice.randrange(1, 4)
    wanted = rows_of(Loader(whole, 1), before + after)
    possible = [n for n in (1, 2, 4, 8) if whole.rows % n == 0]
    workers = (0, 1, 2, 3) if case % 20 == 0 else (0,)
    state: dict[str, Any] = {}
    found: list[list[Any]] = [[] for _ in range(before + after)]
    for first, steps in ((0, before), (before, after)):
        together, ranks, readers = {}, dice.choice(possible), dice.choice(workers)
        for rank in range(ranks):
            loader = Loader(whole, 1, rank=Rank(rank, ranks), workers=readers)
            loader.restore(json.loads(json.dumps(state)))
            for step, rows in enumerate(rows_of(loader, steps), first):
                found[step] += rows
            together |= loader.state()
            loader.close()
        state = together
    assert found == wanted


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers: int) -> None:
    whole = toy_reading("stages.0.rows=4", "stages.0.data.0.source.broken=[3, 5]")
    here, there = Loader(whole, 2), Loader(whole, 2, workers=workers)
    try:
        steps = [(here.next_step(), there.next_step()) for _ in range(5)]
        assert all(same(*step) for step in steps)
        state = there.state()
        assert state == here.state()
        there.restore(json.loads(json.dumps(state)))
        assert same(here.next_step(), there.next_step())
    finally:
        there.close()


def test_refusals_are_written_where_they_were_met_and_forgotten_by_who_will_meet_them_again(tmp_path: Path) -> None:
    whole = toy_reading("stages.0.rows=4", f"stages.0.data.0.source.broken={list(range(0, 60, 4))}")
    loader = Loader(whole, 4, Quarantine(tmp_path / "straight.jsonl", 10**6), stage=1)
    for _ in range(6):
        loader.next_step()
    straight = (tmp_path / "straight.jsonl").read_text().splitlines()
    assert straight
    assert {"stage", "row", "pack", "index", "reason", "source"} == set(json.loads(straight[0]))
    (tmp_path / "broken.jsonl").write_text('{"stage": 0, "row": 0, "pack": 9, "reason": "of the stage before"}\n')
    loader = Loader(whole, 4, Quarantine(tmp_path / "broken.jsonl", 10**6), stage=1, workers=2)
    for _ in range(3):
        loader.next_step()
    state = loader.state()
    loader.next_step()  # what a kill loses
    loader.restore(state)
    for _ in range(3):
        loader.next_step()
    loader.close()
    assert (tmp_path / "broken.jsonl").read_text().splitlines()[1:] == straight


def test_read_and_refused_are_all_there_are() -> None:
    whole = toy_reading("stages.0.rows=2", "stages.0.data.0.repeats=1", "stages.0.data.0.source.broken=[1, 2, 7]")
    read, refused = [], []
    for stream in (Stream(whole, row) for row in range(2)):
        while (packed := stream.next_row()).row is not None:
            read += packed.row.keys
            refused += packed.refused
        refused += packed.refused
    assert len(set(read)) == len(read) == 60 - 3
    assert sorted(one.where["index"] for one in refused) == [1, 2, 7]


def test_shares_of_tokens() -> None:
    """Two sources of unlike lengths get like shares of the tokens."""
    long = "[{source: {type: toy, words: 12}}, {source: {type: toy, words: 1}, weight: 1}]"
    whole = toy_reading(f"stages.0.data={long}", "stages.0.balance=tokens", "stages.0.rows=1")
    packer = whole.packer(lambda refusal: None)
    for _ in range(60):
        packer.next_pack()
    tokens = np.array(packer.mixture.tokens)
    assert abs(tokens[0] / tokens.sum() - 0.5) < 0.02
    assert packer.mixture.drawn[1] > 1.2 * packer.mixture.drawn[0]


@pytest.mark.parametrize(("temperature", "share"), [("null", 0.5), ("1", 0.2), ("2", 1 / 3)])
def test_temperature_weighs_sources_by_their_size(temperature: str, share: float) -> None:
    data = "[{source: {type: toy, samples: 10}}, {source: {type: toy, samples: 40}}]"
    whole = toy_reading(f"stages.0.data={data}", f"stages.0.temperature={temperature}")
    mixture = whole.mixture()
    for _ in range(600):
        mixture.next_key()
    assert mixture.drawn[0] / 600 == pytest.approx(share, abs=0.005)


def test_samples_that_are_not_isolated_run_on() -> None:
    (batch,) = Loader(toy_reading("stages.0.rows=1", "stages.0.isolated=false"), 1).next_step()
    real = int((batch.documents > 0).sum())
    assert len(batch.samples[0]) > 1
    assert set(batch.documents[0, :real].tolist()) == {1}
    assert batch.positions[0, :real].tolist() == list(range(real))


def test_ranks_that_do_not_divide_the_rows() -> None:
    with pytest.raises(DataError, match=r"4 rows cannot be shared by 3 ranks; make stage.rows a multiple"):
        Loader(toy_reading("stages.0.rows=4"), 1, rank=Rank(0, 3))


def test_a_sample_that_went_while_the_run_was_stopped_is_refused(tmp_path: Path) -> None:
    before = Loader(toy_reading("stages.0.rows=1"), 1)
    before.next_step()
    state = before.state()
    gone = state["0"]["waiting"][1]
    after = toy_reading("stages.0.rows=1", f"stages.0.data.0.source.broken=[{gone}]")
    loader = Loader(after, 1, Quarantine(tmp_path / "q.jsonl", 9))
    loader.restore(state)
    ((read,),) = rows_of(loader, 1)
    (line,) = (tmp_path / "q.jsonl").read_text().splitlines()
    assert (json.loads(line)["index"], json.loads(line)["pack"]) == (gone, 2)
    assert read[0] == f"0:{state['0']['waiting'][3]}"


def test_an_error_of_a_worker_is_told_here() -> None:
    loader = Loader(toy_reading("stages.0.rows=1", "stages.0.data.0.repeats=0.1"), 1, workers=1)
    with pytest.raises(DataError, match="the data has ended"):
        rows_of(loader, 50)
    loader.close()


def test_a_worker_waits_when_nobody_reads() -> None:
    loader = Loader(toy_reading("stages.0.rows=1"), 1, workers=1)
    loader.next_step()
    worker = loader._reader.workers[0]  # type: ignore[union-attr]
    time.sleep(1.0)
    assert worker.waiting.qsize() <= 2
    loader.close()
    assert not worker.process.is_alive()


OWN = """
from toy import Toy

from sensorium.data.tilings.grid import Grid


class MySource(Toy, name="my-source"):
    pass


class MyTiling(Grid, name="my-tiling"):
    pass
"""


def test_workers_know_the_parts_of_a_file(tmp_path: Path) -> None:
    """The source as a config and the tiling as it is, in a process where nobody has loaded the file."""
    (tmp_path / "own_parts.py").write_text(OWN)
    load_parts(tmp_path / "own_parts.py")
    own = toy_recipe("stages.0.data.0.source=my-source", "model.tiling=my-tiling")
    whole = reading(own, 0, compose(own.model).layout)
    here, there = Loader(whole, 2), Loader(whole, 2, workers=1)
    assert same(here.next_step(), there.next_step())
    there.close()


def test_training_with_workers_is_training(tmp_path: Path) -> None:
    models = [train(toy_recipe(), tmp_path / str(n), quiet=True, workers=n).state_dict() for n in (0, 2)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_what_a_tokenizer_remembers_is_bounded() -> None:
    """A worker that read a million unlike texts once kept 65 536 of them, whatever their length."""
    tokenizer = toy_model().layout.tokenizer
    tracemalloc.start()
    for number in range(200):
        tokenizer.encode(f"{number} many words " * 200)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1e6
    again = tokenizer.encode("what colour is it?")
    assert tokenizer.encode("what colour is it?") is again


@pytest.mark.slow
def test_the_benchmark_of_scale_reads_the_same_rows_from_nine_tenths_on(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "scale.py"
    command = [
        sys.executable,
        script,
        "--shards",
        "3",
        "--each",
        "4000",
        "--rounds",
        "1",
        "--json",
        tmp_path / "r.json",
    ]
    subprocess.run(command, check=False, timeout=600)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["same_rows"]
    assert found["restored_at"] >= 10_800
