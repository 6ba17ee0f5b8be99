"""Scoring on Ray: what a worker does, and, where Ray is installed, that its columns are those of this process."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import Toy

from sensorium.config import find_part, load_parts
from sensorium.curation.choose import choose
from sensorium.curation.columns import Columns
from sensorium.curation.pool import Pool
from sensorium.curation.ray_worker import Worker, packed
from sensorium.curation.run import Work, fitted, score
from sensorium.curation.scorers.dfn import DFN
from sensorium.curation.scorers.picture_hash import PictureHash
from sensorium.curation.scorers.text_quality import TextQuality
from sensorium.curation.selectors.top import Top
from sensorium.curation.selectors.unique_pictures import UniquePictures
from sensorium.curation.step import Scorer
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.errors import CheckpointError, DataError

SOURCE = Toy.Config(samples=23, broken=(4, 5, 20))

MOODY = """
import os
import time

from sensorium.curation.step import Kind, Scorer
from sensorium.errors import CheckpointError


class Moody(Scorer, name="moody"):
    class Config(Scorer.Config):
        fails: str = ""
        at: int = 12
        file: str = "said"
        slow: float = 0.0

        @property
        def columns(self) -> dict[str, Kind]:
            return {"said": "text"}

    def __init__(self, config, fitted):
        super().__init__(config, fitted)
        if config.fails == "weights":
            raise CheckpointError("the weights\\nare gone; restore them")

    def read(self, sample):
        time.sleep(self.config.slow)
        if sample.id == str(self.config.at) and self.config.fails == "bug":
            raise ZeroDivisionError("a bug")
        if sample.id == str(self.config.at) and self.config.fails == "death":
            os._exit(9)
        with open(self.config.file) as file:
            return file.read() + sample.id

    def score(self, items):
        return [(item,) for item in items]
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """A scorer of a user's file, in a folder that its paths are relative to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "said").write_text("sample ")
    (tmp_path / "moody_parts.py").write_text(MOODY)
    load_parts("moody_parts.py")
    return find_part("scorer", "moody")


def begun(out: Path, scorer: Scorer.Config) -> tuple[Worker, Path]:
    """A worker and its folder of columns, in chunks of 8 samples."""
    columns = Columns.of(out, SOURCE, scorer, 8)
    return Worker(*packed(Work(SOURCE, scorer, columns.folder, fitted(scorer, out)))), columns.folder


def told(worker: Worker, start: int) -> tuple[int, str, str]:
    """What the worker says of a chunk: samples, what of them, and the kind of error."""
    said = worker({"start": np.array([start])})
    return said["samples"][0], said["told"][0], said["error"][0]


def same_files(ours: Path, theirs: Path) -> bool:
    """Whether two folders have files of the same names and bytes."""
    held = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (ours, theirs)]
    return held[0] == held[1]


# --- what needs no Ray ---


def test_a_worker_tells_what_came_of_a_chunk(tmp_path: Path, moody: type[Any]) -> None:
    worker, folder = begun(tmp_path / "out", moody())
    assert told(worker, 0) == (8, json.dumps(["toy/4: broken", "toy/5: broken"]), "")
    assert sorted(file.name for file in folder.iterdir()) == ["0000000000.parquet", "about.json"]
    gone, _ = begun(tmp_path / "out", moody(fails="weights"))
    assert told(gone, 0) == (0, "the weights\nare gone; restore them", "CheckpointError")
    wrong, _ = begun(tmp_path / "out", moody(fails="bug"))
    samples, text, kind = told(wrong, 8)
    assert (samples, kind) == (0, "DataError")
    assert "failed:\nTraceback" in text
    assert "moody_parts.py" in text
    assert text.endswith("ZeroDivisionError: a bug")


def test_a_worker_refuses_other_data_than_the_columns_are_of(tmp_path: Path) -> None:
    worker, folder = begun(tmp_path / "out", TextQuality.Config())
    about = (folder / "about.json").read_text()
    (folder / "about.json").write_text(about.replace(folder.name.split("-")[-1], "0" * 16))
    samples, text, kind = told(worker, 0)
    assert (samples, kind) == (0, "DataError")
    assert "has other data, weights or another version" in text
    lost = Worker(worker.held, str(tmp_path / "nowhere"), [])
    assert "nowhere'; begin in a folder that all machines share" in told(lost, 0)[1]


def test_a_part_that_a_worker_cannot_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _ = begun(tmp_path / "out", TextQuality.Config())
    monkeypatch.delitem(sys.modules, "toy")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "toy.py").exists()])
    lost = Worker(worker.held, str(tmp_path), [])
    assert "does not know a part: No module named 'toy'; a part belongs into a module" in told(lost, 0)[1]


# --- what does ---

ray = pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'sensorium[ray]'")


@pytest.fixture(scope="module", autouse=True)
def token() -> Iterator[None]:
    """Ray's token is of these tests, and nothing of it in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def running(token: None) -> Iterator[None]:
    """A Ray that the program has begun itself, to begin it once."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, object_store_memory=128 << 20, include_dashboard=False)
    yield
    assert ray.is_initialized(), "whose Ray it is ends it"
    ray.shutdown()


@ray
@pytest.mark.slow
def test_a_killed_scoring_goes_on(tmp_path: Path, moody: type[Any]) -> None:
    """Ray is begun and ended by the scoring; of the killed one what was whole is kept."""
    import ray

    source, scorer = Toy.Config(samples=400, broken=(17,)), moody(slow=0.01)
    (here,) = score([source], scorer, tmp_path / "here", chunk=40)
    code = "; ".join(
        (
            "import toy; from pathlib import Path; from sensorium.config import find_part, load_parts",
            "load_parts('moody_parts.py'); from sensorium.curation.run import score",
            "pool = [toy.Toy.Config(samples=400, broken=(17,))]",
            "score(pool, find_part('scorer', 'moody')(slow=0.01), Path('there'), chunk=40, ray=2)",
        )
    )
    paths = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    there = tmp_path / "there" / here.folder.name
    for _ in range(600):
        if process.poll() is not None or list(there.glob("*.parquet")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(5)  # for its workers, which live some seconds longer
    kept = {file: file.stat().st_mtime_ns for file in there.glob("*.parquet")}
    assert 0 < len(kept) < 10
    score([source], scorer, tmp_path / "there", ray=2)
    assert not ray.is_initialized()
    assert same_files(here.folder, there)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "nothing is scored twice"


@ray
@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_scores_and_selections_are_the_same(tmp_path: Path) -> None:
    """By a scorer that learns, too; the values of a network are equal for equal numbers of threads."""
    world = FactorWorld.Config(style="short", scenes=60)
    clean = FactorWorld.Config(style="short", scenes=40, seed=1)
    pool = Pool(sources=(world, SOURCE))
    learning = DFN.Config.model_validate(
        {"clean": clean, "steps": 3, "pairs": 16, "encoder": {"type": "vit", "image_size": 32, "width": 16, "depth": 1}}
    )
    scorers = [TextQuality.Config(), PictureHash.Config(), learning]
    written = {}
    for place, workers in (("here", 0), ("there", 2)):
        out = tmp_path / place
        pool.claim(out)
        written[place] = [c.folder for one in scorers for c in score(pool.sources, one, out, chunk=8, ray=workers)]
    assert all(same_files(*pair) for pair in zip(written["here"], written["there"], strict=True))
    refused = written["there"][1] / "quarantine.jsonl"
    assert [json.loads(line)["index"] for line in refused.read_text().splitlines()] == [4, 5, 20]
    for selector, count in ((UniquePictures.Config(), None), (Top.Config(column="dfn.similarity"), 20)):
        ours, theirs = (choose(tmp_path / place, selector, tmp_path / "s", count=count)[0] for place in written)
        assert [one.source for one in ours] == [one.source for one in theirs]
        assert all(np.array_equal(a.indices, b.indices) for a, b in zip(ours, theirs, strict=True))


@ray
@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_what_goes_wrong_in_a_worker_is_told(tmp_path: Path, moody: type[Any]) -> None:
    with pytest.raises(CheckpointError, match=r"^the weights\nare gone; restore them$"):
        score([SOURCE], moody(fails="weights"), tmp_path / "weights", chunk=8, ray=2)
    with pytest.raises(DataError, match=r"3 bad samples, more than the limit of 2"):
        score([SOURCE], moody(), tmp_path / "bad", chunk=8, ray=2, max_bad=2)
    with pytest.raises(DataError, match=r"scoring the samples 8 to 15 has ended 3 workers of Ray"):
        score([SOURCE], moody(fails="death"), tmp_path / "death", chunk=8, ray=2)
    (folder,) = (tmp_path / "death").glob("moody-*")
    assert not [file for file in folder.iterdir() if file.name.endswith("begun")]
    assert not (folder / "0000000008.parquet").exists()
