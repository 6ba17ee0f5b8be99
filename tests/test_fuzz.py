"""Damaged files are read or refused, and the fuzzer sees what it is there to see. `benchmarks/fuzz.py` runs more."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sensorium.errors import DataError

pytest.importorskip("av")
pytest.importorskip("soundfile")
pytest.importorskip("pyarrow")
pytest.importorskip("resource", reason="limits of memory are POSIX")

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
sys.path.insert(0, str(FUZZ.parent))
fuzz, specimens = importlib.import_module("fuzz"), importlib.import_module("specimens")


def test_300_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), "--files", "300", "--seed", "7", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (done.returncode, found["failures"]) == (0, []), done.stdout
    for name, counts in found["formats"].items():
        assert counts.get("read", 0) + counts.get("refused", 0) in (14, 15), name
    assert len(specimens.FORMATS) == 21
    assert all(any(counts.get(outcome) for counts in found["formats"].values()) for outcome in ("read", "refused"))


@pytest.mark.parametrize("format", specimens.FORMATS, ids=lambda format: format.name)
def test_specimens_are_valid_and_always_the_same(format: Any, tmp_path: Path) -> None:
    made = format.make()
    assert made == format.make()
    for number, data in enumerate(made):
        assert specimens.sealed(format.name, data) == data, "its checksums were right"
        ending = format.name if format.name in specimens.BY_NAME else "wrong"
        file = tmp_path / f"{number}.{ending}"
        file.write_bytes(data)
        assert fuzz.judge(format, file) == ("read", "")


def test_a_seed_and_an_index_make_the_file_again() -> None:
    files = [fuzz.make_file(3, index) for index in range(40)]
    assert [fuzz.make_file(3, index)[2] for index in range(40)] == [data for _, _, data, _ in files]
    assert len({data for _, _, data, _ in files}) > 30


def _raise(error: BaseException) -> None:
    raise error


def _wrap(error: BaseException) -> None:
    raise _caught(error)


def _caught(error: BaseException) -> DataError:
    found = DataError("cannot decode")
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda _: [], "read"),
        (lambda _: [DataError("no")], "refused"),
        (lambda _: [DataError("no"), _caught(MemoryError())], "memory"),
        (lambda _: _raise(DataError("no")), "refused"),
        (lambda _: _raise(ValueError("no")), "exception"),
        (lambda _: _raise(MemoryError()), "memory"),
        (lambda _: _wrap(MemoryError()), "memory"),
        (lambda _: _wrap(ValueError("no")), "refused"),
    ],
)
def test_outcomes_are_told_apart(read: object, outcome: str) -> None:
    assert fuzz.judge(SimpleNamespace(read=read), Path())[0] == outcome


def dies_or_hangs(seed: int, indices: list[int], there: Any) -> None:
    for index in indices:
        there.send(index)
        if index == 1:
            os.abort()
        if index == 2:
            time.sleep(60)
        there.send(fuzz.Result(index, "png", "none", "read", ""))


def test_a_worker_that_dies_or_hangs_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "serve", dies_or_hangs)
    monkeypatch.setattr(fuzz, "PATIENCE", 0.5)
    results = sorted(fuzz.fuzz(0, range(4), 1), key=lambda result: result.index)
    assert [result.outcome for result in results] == ["read", "crash", "hang", "read"]
