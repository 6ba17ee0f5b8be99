"""Workers of the loader that die: the same rows as if they had lived, less the samples that kill them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import deadly  # noqa: F401
import pytest
from test_loader import rows_of, same, toy_reading

from sensorium.data.loader import Loader
from sensorium.data.quarantine import Quarantine
from sensorium.data.stream import Reading
from sensorium.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:a worker of the loader died")


def reading(*changes: str) -> Reading:
    data = json.dumps([{"source": {"type": "deadly"}}])
    return toy_reading(f"stages.0.data={data}", "stages.0.rows=2", "stages.0.length=96", *changes)


def refusals(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_samples_that_kill_are_refused_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    """Against reading here, where the same samples are refused in the usual way."""
    whole = reading("stages.0.data.0.source.reading=[3]", "stages.0.data.0.source.decoding=[5, 6]")
    here = Loader(whole, 2, Quarantine(tmp_path / "here.jsonl", 99))
    there = Loader(whole, 2, Quarantine(tmp_path / "there.jsonl", 99), workers=1)
    try:
        assert all(same(here.next_step(), there.next_step()) for _ in range(3))
        state = json.loads(json.dumps(there.state()))
        assert state == here.state()
        there.workers = 2  # which know nothing of what killed the first
        there.restore(state)
        assert all(same(here.next_step(), there.next_step()) for _ in range(3))
    finally:
        there.close()
    met, wanted = refusals(tmp_path / "there.jsonl"), refusals(tmp_path / "here.jsonl")
    reasons = {one.pop("reason") for one in met}
    assert [one.pop("reason").endswith("deadly") for one in wanted] == [True] * len(met)
    assert met == wanted
    ends = "reading it ended a worker of the loader twice (exit code -11); re-encode or remove the sample"
    places = ("sample 0:3 in layout", "sample 0:5 in decoding", "sample 0:6 in decoding")
    assert reasons == {f"{place}: {ends}" for place in places}


def test_a_worker_that_is_killed_from_outside_costs_no_sample(tmp_path: Path) -> None:
    here, there = Loader(reading(), 2), Loader(reading(), 2, Quarantine(tmp_path / "q.jsonl", 0), workers=1)
    try:
        for step in range(8):
            if step in (1, 5):
                os.kill(there._reader.workers[0].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            assert same(here.next_step(), there.next_step())
    finally:
        there.close()
    assert not (tmp_path / "q.jsonl").exists()


def test_a_run_stops_at_so_many_deadly_samples() -> None:
    whole = reading("max_bad_samples=1", "stages.0.data.0.source.decoding=[0, 5, 10, 11]")
    loader = Loader(whole, 2, workers=1)
    with pytest.raises(DataError, match="2 bad samples, more than the limit of 1; the last: sample 0:"):
        rows_of(loader, 50)
    loader.close()


def test_workers_that_die_of_something_else_are_given_up() -> None:
    loader = Loader(reading("stages.0.data.0.source.building=true"), 2, workers=1)
    with pytest.raises(DataError, match=r"died 4 times before it could give a row \(exit code -11"):
        loader.next_step()
    loader.close()


def test_a_sample_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    loader = Loader(reading("stages.0.data.0.source.greedy=7"), 2, Quarantine(tmp_path / "q.jsonl", 9), workers=1)
    rows_of(loader, 3)
    loader.close()
    (one,) = refusals(tmp_path / "q.jsonl")
    assert (one["index"], "(exit code 12)" in one["reason"]) == (7, True)


def test_an_error_of_our_own_code_ends_the_run_and_names_the_sample() -> None:
    loader = Loader(reading("stages.0.data.0.source.faulty=7"), 2, workers=1)
    with pytest.raises(DataError, match=r"(?s)failed at sample 0:7 in layout:.*KeyError: 'a mistake'"):
        rows_of(loader, 50)
    loader.close()
