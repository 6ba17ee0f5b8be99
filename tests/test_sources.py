"""Sources that read folders: in place, with splits that nothing straddles and errors that name the line."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from sensorium.data.files import Stored
from sensorium.data.images import open_picture, picture_size
from sensorium.data.records import connected, fill, share
from sensorium.data.shards import index_tar
from sensorium.data.source import Source
from sensorium.errors import ConfigError, DataError
from sensorium.recipe import Recipe
from sensorium.sample import Image, Text


def png(colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", size, colour).save(buffer, "png")
    return buffer.getvalue()


def write_lines(folder: Path, records: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """40 pictures; every caption twice, and pictures 0 and 1, of other captions, are the same bytes."""
    folder = write_lines(
        tmp_path / "things",
        [
            {"id": f"t{i}", "image": f"{i}.png", "kind": ["k", "z"], "captions": {"en": f"Item é {i // 2 % 20}!"}}
            for i in range(40)
        ],
    )
    for i in range(40):
        (folder / f"{i}.png").write_bytes(
            png((max(i, 1) // 2 * 2, 0, i)) if i > 3 else png((9, 9, 9) if i % 2 else (1, i, i))
        )
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    return folder


def lines(folder: Path, **changes: Any) -> Any:
    config = {"type": "jsonl", "folder": str(folder), "caption": "{captions.en}", "turns": [["What?", "{captions.en}"]]}
    return Source.Config.model_validate({**config, **changes}).build()


def shard(file: Path, members: dict[str, bytes], **attributes: Any) -> None:
    with tarfile.open(file, "w") as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            opened.addfile(info, io.BytesIO(data))


def pairs(keys: range, colour: int) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for i in keys:
        members[f"c{i}.png"] = png((colour, i, 0))
        members[f"c{i}.json"] = json.dumps({"name": f"concept {i}"}).encode()
    return members


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    shard(folder / "a.tar", pairs(range(30), 10))
    shard(folder / "b.tar", pairs(range(30), 20))
    return folder


def tars(folder: Path, **changes: Any) -> Any:
    config = {"type": "tar", "folder": str(folder), "caption": "{name}", "turns": [["What?", "{name}"]]}
    return Source.Config.model_validate({**config, **changes}).build()


def test_lines_become_chats_and_captions(things: Path) -> None:
    sample = lines(things)[5]
    assert sample.segments == (
        Image(things / "5.png"), Text("What?"), Text("Item é 2!", role="assistant", supervise=True)
    )  # fmt: skip
    assert (sample.name, sample.meta["caption"], sample.meta["record"]["id"]) == ("things/t5", "Item é 2!", "t5")
    running = lines(things, style="caption")[5]
    assert [(s.role, s.supervise) for s in running.segments] == [("document", False), ("document", True)]
    several = lines(things, turns=[["What?", "{captions.en}"], ["Which kind?", "{kind}"]])[5]
    assert several.segments[-1] == Text("k, z", role="assistant", supervise=True)


def test_train_and_test_are_apart_and_stay_so(things: Path) -> None:
    settings = {"together": ["captions.en"], "same_pictures": True, "held_out": 0.3}
    halves = {split: lines(things, split=split, **settings) for split in ("train", "test")}
    ids = {split: [half[i].id for i in range(len(half))] for split, half in halves.items()}
    assert len(ids["train"]) + len(ids["test"]) == 40
    assert 3 < len(ids["test"]) < 25
    captions = {split: {half[i].meta["caption"] for i in range(len(half))} for split, half in halves.items()}
    assert not captions["train"] & captions["test"], "equal captions are together"
    side = {id: split for split, own in ids.items() for id in own}
    assert side["t1"] == side["t2"], "equal pictures are together, and with them their captions"
    text = (things / "data.jsonl").read_text().splitlines()
    (things / "data.jsonl").write_text("\n".join(reversed(text)))
    again = lines(things, split="test", **settings)
    assert {again[i].id for i in range(len(again))} == set(ids["test"]), "the order of the lines does not matter"


def test_broken_lines_are_errors_that_name_them(tmp_path: Path) -> None:
    good = {"id": "a", "image": "a.png", "captions": {"en": "A."}}
    outside = tmp_path / "outside.png"
    outside.write_bytes(png((0, 0, 0)))
    folder = write_lines(
        tmp_path / "bad",
        [good, "", '{"id": 1,', '["a list"]', {**good, "image": "no.png"}, {**good, "image": "../outside.png"},
         {**good, "image": None}, {**good, "captions": {}}, {**good, "image": str(outside)},
         {**good, "image": "link.png"}],
    )  # fmt: skip
    (folder / "a.png").write_bytes(png((1, 2, 3)))
    (folder / "link.png").symlink_to(outside)
    source = lines(folder)
    said = ["", "line 3: not JSON", "line 4: a list, not", r"line 5: no file .*no\.png", "line 6: .*leads out of",
            "line 7: field 'image' is None", "line 8: has no 'captions.en'", "line 9: .*leads out of",
            "line 10: .*leads out of"]  # fmt: skip
    assert len(source) == len(said)
    assert source[0].id == "a"
    for index in range(1, len(said)):
        with pytest.raises(DataError, match=rf"data\.jsonl, {said[index]}"):
            source[index]
    halves = [lines(folder, split=split, together=["captions.en"]) for split in ("train", "test")]
    assert sum(map(len, halves)) == len(said), "a broken line is in one of the splits, where it is quarantined"


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; give the folder that holds .*; ask the hint"):
        lines(tmp_path / "nowhere", hint="ask the hint")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no file .*data\.jsonl"):
        lines(tmp_path / "empty")
    with pytest.raises(DataError, match=r"no file matches '\*\.tar'"):
        tars(tmp_path / "empty")
    (tmp_path / "empty" / "data.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="holds no lines"):
        lines(tmp_path / "empty")
    shard(tmp_path / "empty" / "none.tar", {})
    with pytest.raises(DataError, match="holds no files"):
        tars(tmp_path / "empty")


def test_shards_are_read_in_place(shards: Path) -> None:
    source = tars(shards)
    assert len(source) == 60
    sample = source[31]
    picture: Any = sample.images[0].source
    assert (sample.name, sample.meta["caption"]) == ("shards/b/c1", "concept 1")
    assert picture_size(picture) == (6, 4)
    assert open_picture(picture).getpixel((0, 0)) == (20, 1, 0)
    assert picture.read() == png((20, 1, 0))


def test_a_concept_is_held_out_of_every_shard(shards: Path) -> None:
    halves = {split: tars(shards, split=split, held_out=0.3) for split in ("train", "test")}
    captions = {split: [half[i].meta["caption"] for i in range(len(half))] for split, half in halves.items()}
    assert not set(captions["train"]) & set(captions["test"])
    assert len(captions["train"]) + len(captions["test"]) == 60
    assert all(captions[split].count(caption) == 2 for split in captions for caption in captions[split])


def test_a_shard_that_is_damaged_in_the_middle_loses_nothing_in_silence(tmp_path: Path) -> None:
    """tarfile takes a header whose checksum is wrong for the end of the archive."""
    file = tmp_path / "x.tar"
    shard(file, pairs(range(4), 0))
    whole = file.read_bytes()
    with tarfile.open(file) as opened:
        heads = [info.offset for info in opened]

    def members(data: bytes) -> int:
        file.write_bytes(data)
        return len(index_tar(Stored(file))["offsets"])

    assert members(whole) == len(heads) == 8
    refused = 0
    for place in range(heads[3], heads[3] + 512, 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        try:
            assert members(bytes(flipped)) == 8, "spaces around the checksum may be others"
        except DataError:
            refused += 1
    assert refused > 100
    for wrong, said in (
        (whole[: heads[3]], f"cut short at byte {heads[3]}, where its end is not marked"),
        (whole[: heads[3] + 9], f"damaged from byte {heads[3]} on"),
        (whole[: heads[3]] + bytes(512) + whole[heads[3] + 512 :], f"damaged from byte {heads[3]} on"),
        (whole + whole, "or several archives in one"),
    ):
        with pytest.raises(DataError, match=said):
            members(wrong)


def test_bad_shards_are_refused_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for name, attributes in (
        ("../up.png", {}),
        ("/etc/abs.png", {}),
        ("l.png", {"type": tarfile.SYMTYPE, "linkname": "/"}),
    ):
        shard(folder / "x.tar", {name: b"" if attributes else png((0, 0, 0))}, **attributes)
        with pytest.raises(DataError, match="leads out of the archive"):
            tars(folder)
    (folder / "x.tar").write_bytes(b"not a tar file at all")
    with pytest.raises(DataError, match=r"x\.tar: not a readable tar file"):
        tars(folder)
    members = {"a.png": png((0, 0, 0)), "b.png": b"no picture", "b.json": b'{"name": "b"}', "c.png": png((0, 0, 0)),
               "c.json": b"{", "d.png": png((0, 0, 0)), "d.json": b"{}"}  # fmt: skip
    shard(folder / "x.tar", members)
    source = tars(folder)
    with pytest.raises(DataError, match=r"x\.tar:a: needs a picture and a \.json or \.txt, found a\.png"):
        source[0]
    with pytest.raises(DataError, match=r"x\.tar:b\.png"):
        open_picture(source[1].images[0].source)
    with pytest.raises(DataError, match=r"x\.tar:c\.json: not JSON"):
        source[2]
    with pytest.raises(DataError, match=r"x\.tar:d: has no 'name'"):
        source[3]
    picture: Any = source[1].images[0].source
    (folder / "x.tar").write_bytes((folder / "x.tar").read_bytes()[: picture.offset + 3])
    with pytest.raises(DataError, match="cut short at 3 of 10 bytes"):
        picture.read()


def test_folders_are_found_by_recipe_and_environment(things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_DATA", raising=False)
    config = {"type": "jsonl", "folder": "things", "caption": "{captions.en}", "turns": [["What?", "{captions.en}"]]}
    with pytest.raises(DataError, match="data=FOLDER"):
        Source.Config.model_validate(config).build()
    monkeypatch.setenv("SENSORIUM_DATA", str(things.parent))
    assert len(Source.Config.model_validate(config).build()) == 40
    monkeypatch.delenv("SENSORIUM_DATA")
    from toy import toy_recipe

    data = toy_recipe().to_dict()
    data["stages"][0]["data"] = [{"source": config}]
    data["evaluation"] = [{"type": "caption-choice", "source": config}]
    recipe: Any = Recipe.from_dict({**data, "data": "/elsewhere"}).override(f"data={things.parent}")
    assert len(recipe.stages[0].data[0].source.build()) == 40
    assert recipe.evaluation[0].source.place().root == things
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_fingerprints_tell_files_apart_wherever_they_are(shards: Path, things: Path, tmp_path: Path) -> None:
    def of(folder: Path) -> str:
        return Source.Config.model_validate({"type": kind, "folder": str(folder)}).fingerprint() or ""

    for kind, folder, file in (("tar", shards, "b.tar"), ("jsonl", things, "data.jsonl")):
        before, moved = of(folder), tmp_path / f"moved-{kind}"
        shutil.copytree(folder, moved)
        assert of(moved) == before
        whole = (moved / file).read_bytes()
        for changed in (whole[:5] + b"?" + whole[6:], whole + b" ", whole[:-1] + b"?"):
            (moved / file).write_bytes(changed)
            assert of(moved) != before
    (shards / "b.tar").rename(shards / "c.tar")
    kind = "tar"
    assert of(shards) != before


def test_templates() -> None:
    record = {"a": {"b": "x"}, "n": 3, "l": ["p", "q"], "none": None}
    assert fill("{a.b}-{n}-{l} {not a field}", record, "r") == "x-3-p, q {not a field}"
    for missing in ("{a.c}", "{a.b.c}", "{none}", "{zz}"):
        with pytest.raises(DataError, match=r"r: has no '.*' for the template .* its fields are a, n, l, none"):
            fill(missing, record, "r")


def test_shares_are_even_and_connections_transitive() -> None:
    shares = [share(str(i)) for i in range(2000)]
    assert abs(sum(s < 0.2 for s in shares) / 2000 - 0.2) < 0.03
    assert connected([["a", "b"], ["c"], ["d", "b"], ["c", "e"], ["f"]]) == ["a", "c", "a", "c", "f"]
    with pytest.raises(ConfigError, match="held_out"):
        Source.Config.from_dict({"type": "tar", "folder": "x", "held_out": 1.0})
