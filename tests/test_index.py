"""Files wherever they are, and the indexes of large ones: small, kept, shared, and never those of another file."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_shapes import lines, says, source
from test_sources import pairs, png, shard

from sensorium.data import index
from sensorium.data.files import HEADER, Stored
from sensorium.data.folder import Folder
from sensorium.data.images import open_picture, picture_size
from sensorium.data.shards import Shard, Shards
from sensorium.data.sources import jsonl
from sensorium.errors import DataError


def old(file: Path, when: float = 1e9) -> Path:
    """A file that has not changed for long, whose index is kept."""
    os.utime(file, (when, when))
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "indexes"


@pytest.fixture
def memory() -> Any:
    """An empty folder in the memory of fsspec."""
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    files.makedirs("/zoo", exist_ok=True)
    yield files
    files.rm("/zoo", recursive=True)


def test_a_large_index_is_small(tmp_path: Path, cache: Path) -> None:
    """200,000 samples in 20 tar files of equal keys, most of them one file's copies, opened for a second time."""
    shard(tmp_path / "00.tar", {f"{i:09d}.jpg": b"x" for i in range(10_000)})
    Shard(Stored(old(tmp_path / "00.tar")))
    (kept,) = cache.iterdir()
    for number in range(1, 20):
        os.link(tmp_path / "00.tar", tmp_path / f"{number:02d}.tar")
        copy = index._kept([Stored(tmp_path / f"{number:02d}.tar")], "tar")
        assert copy is not None
        copy.write_bytes(kept.read_bytes())
    tracemalloc.start()
    shards = Shards(Folder(tmp_path).matching("*.tar"))
    gc.collect()
    own = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(shards) == 200_000
    assert own < 500_000, "what a process has of its own; the rest is mapped"
    assert sum(file.stat().st_size for file in cache.iterdir()) < 40 * 200_000, "bytes a sample"
    found, place = shards[123_456]
    assert found.file.title == "12.tar"
    assert found.keys[place] == "000003456"
    assert found.members(place)[".jpg"].read() == b"x"


def test_an_index_is_made_once_and_is_not_another_file_s(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.tar"
    shard(file, pairs(range(5), 1))
    made: list[int] = []

    def build() -> index.Arrays:
        made.append(1)
        return {"number": np.array([len(made)], np.uint64), "none": np.zeros(0, np.uint8)}

    def read() -> int:
        return int(index.indexed([Stored(file)], "test", build)["number"][0])

    assert (read(), read()) == (1, 2), "of a file that has just changed, nothing is kept"
    old(file)
    assert (read(), read(), read()) == (3, 3, 3)
    old(file, 1e9 + 1)
    assert (read(), read()) == (4, 4), "another time"
    file.write_bytes(file.read_bytes() + bytes(512))
    old(file)
    assert (read(), read()) == (5, 5), "another size"
    assert int(index.indexed([Stored(file)], "other", build)["number"][0]) == 6
    for kept in cache.iterdir():
        kept.write_bytes(kept.read_bytes()[:-1])
    assert (read(), read()) == (7, 7), "what is cut short is made again"
    for kept in cache.iterdir():
        kept.write_bytes(b"no index")
    assert (read(), read()) == (8, 8)
    assert not [kept for kept in cache.iterdir() if kept.suffix != ".safetensors"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "file"))
    shard(tmp_path / "a.tar", pairs(range(5), 1))
    assert len(Shard(Stored(old(tmp_path / "a.tar")))) == 5


def test_a_kept_index_reads_what_a_new_one_reads(tmp_path: Path, cache: Path) -> None:
    members = {"b/ü.PNG": png((1, 2, 3)), "a.json": b"{}", "./b/ü.json": b"[]", "a.png": png((3, 2, 1)), "c": b"x"}
    shard(tmp_path / "a.tar", members)
    file = Stored(old(tmp_path / "a.tar"))
    new, kept = Shard(file), Shard(file)
    assert len(list(cache.iterdir())) == 1
    for one in (new, kept):
        found = [(one.keys[i], {e: m.read() for e, m in one.members(i).items()}) for i in range(len(one))]
        assert found == [
            ("b/ü", {".png": members["b/ü.PNG"], ".json": b"[]"}),
            ("a", {".json": b"{}", ".png": members["a.png"]}),
            ("c", {"": b"x"}),
        ]
        assert str(one.members(0)[".png"]) == "a.tar:b/ü.PNG"


def test_splits_are_kept_too(tmp_path: Path, cache: Path) -> None:
    lines(tmp_path, *(says("q", "a", id=f"{i}") for i in range(50)))
    old(tmp_path / "a.jsonl")
    settings = {"file": "a.jsonl", "held_out": 0.4}
    first = source("llava", tmp_path, split="test", **settings)
    surveyed: list[int] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(type(first), "_survey", lambda self: surveyed.append(1))
    again, rest = (source("llava", tmp_path, split=split, **settings) for split in ("test", "train"))
    patch.undo()
    assert not surveyed
    assert [again[i] for i in range(len(again))] == [first[i] for i in range(len(first))]
    assert len(again) + len(rest) == 50


def test_a_split_by_pictures_is_kept_until_one_of_them_changes(tmp_path: Path, cache: Path) -> None:
    colours = {f"{i}": (i, 0, 0) for i in range(12)}
    lines(tmp_path, *({"id": name, "image": f"{name}.png"} for name in colours))
    for name, colour in colours.items():
        (tmp_path / f"{name}.png").write_bytes(png(colour))
        old(tmp_path / f"{name}.png")
    old(tmp_path / "a.jsonl")
    read: list[Path] = []

    def groups() -> int:
        config = {"file": "a.jsonl", "turns": [["?", "{id}"]], "held_out": 0.5}
        read.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jsonl, "read_bytes", lambda picture: read.append(picture) or picture.read_bytes())
            opened = source("jsonl", tmp_path, **config, together=["id"], same_pictures=True, split="test")
        return len(set(opened.survey()["shares"].tolist()))

    assert (groups(), len(read)) == (12, 12)
    assert (groups(), len(read)) == (12, 0), "nothing has changed, and no picture is read"
    (tmp_path / "3.png").write_bytes(png(colours["4"]))
    old(tmp_path / "3.png", 1e9 + 1)
    assert (groups(), len(read)) == (11, 12), "two pictures have become equal"
    (tmp_path / "5.png").rename(tmp_path / "gone.png")
    assert groups() == groups() == 11, "a picture that is not there is equal to none"
    (tmp_path / "gone.png").rename(tmp_path / "5.png")
    assert (groups(), len(read)) == (11, 0)
    (tmp_path / "5.png").unlink()
    (tmp_path / "5.png").symlink_to(tmp_path / "6.png")
    assert groups() == 10, "a link to another"


def test_folders_in_memory_are_read_like_others(memory: Any, tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", pairs(range(4), 7))
    lines(tmp_path, *(says("<image>?", str(i), image=f"{i}.png") for i in range(4)))
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png((i, 0, 0)))
        (tmp_path / f"{i}.txt").write_text(f"number {i}")
    for file in tmp_path.iterdir():
        if file.is_file():
            memory.pipe(f"/zoo/{file.name}", file.read_bytes())
    for kind, settings in (("tar", {"caption": "{name}", "turns": [["?", "{name}"]]}), ("llava", {"file": "*.jsonl"}),
                           ("pictures", {})):  # fmt: skip
        here, there = (source(kind, folder, **settings) for folder in (tmp_path, "memory://zoo"))
        assert len(here) == len(there) > 2
        for i in range(3):
            at, other = here[i], there[i]
            assert [s for s in at.segments if s not in at.images] == [
                s for s in other.segments if s not in other.images
            ]
            assert [open_picture(s.source).tobytes() for s in at.images] == [
                open_picture(s.source).tobytes() for s in other.images
            ]
            assert picture_size(other.images[0].source) == (6, 4)
        assert there.config.fingerprint() == here.config.fingerprint()
    missing = source("llava", "memory://zoo", file="a.jsonl")[3]
    with pytest.raises(DataError, match=r"no file memory://zoo/3\.png"):
        picture_size(missing.images[0].source)
    with pytest.raises(DataError, match=r"memory://zoo: no file matches '\*\.json'"):
        source("llava", "memory://zoo")
    with pytest.raises(DataError, match="cannot be read"):
        source("llava", "memory://zoo", file="none.jsonl")


def test_nothing_climbs_out_of_an_address(memory: Any) -> None:
    memory.pipe("/secret.png", png((1, 1, 1)))
    folder = Folder("memory://zoo")
    for path in ("../secret.png", "a/../../secret.png", "/secret.png", "%2e%2e/secret.png", "..\\secret.png", "x?y"):
        with pytest.raises(DataError, match=r"rec: the path .* may lead out of memory://zoo"):
            folder.find(path, "rec")
    for path in ("memory://secret.png", "https://example.org/x.png"):
        with pytest.raises(DataError, match=r"rec: .* is an address"):
            folder.find(path, "rec")
    assert folder.find("a/b.png", "rec").file == "memory://zoo/a/b.png"


def test_the_recipe_s_data_may_be_an_address(memory: Any) -> None:
    from toy import toy_recipe

    memory.pipe("/zoo/things/data.jsonl", b'{"id": 1, "image": "a.png", "caption": "A."}\n')
    data = toy_recipe().to_dict()
    data["stages"][0]["data"] = [{"source": {"type": "jsonl", "folder": "things"}}]
    recipe = type(toy_recipe()).from_dict({**data, "data": "memory://zoo"})
    built = recipe.stages[0].data[0].source.build()
    assert built[0].images[0].source == Stored("memory://zoo/things/a.png")


def test_sizes_come_from_headers(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    from PIL import Image as PILImage

    for kind in ("png", "webp", "tiff", "jpeg"):
        file = tmp_path / f"a.{kind}"
        PILImage.fromarray(noise).save(file, **({"lossless": True} if kind == "webp" else {}))
        raw = file.read_bytes()
        assert len(raw) > HEADER or kind == "jpeg"
        (tmp_path / "in").write_bytes(b"before" + raw + b"after")
        member = Stored(tmp_path / "in", "member", 6, len(raw))
        assert member.size == (300, 200)
        assert member.open().tobytes() == open_picture(file).tobytes()


def test_sources_import_nothing_heavy() -> None:
    program = (
        "import sys\nfrom sensorium.data.source import Source\nfrom sensorium.config import part_names\n"
        "part_names('source')\n"
        "print(*{'torch', 'pyarrow', 'fsspec', 'av', 'sklearn'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not ran.stdout.strip()
