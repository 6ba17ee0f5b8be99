"""The shapes of data: what each refuses, how it is split, that it is the same wherever and however often it is read."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sources import pairs, png, shard

from sensorium.data.images import open_picture, picture_size
from sensorium.data.source import Source
from sensorium.data.sources.sensorium import write_jsonl
from sensorium.errors import ConfigError, DataError
from sensorium.sample import Audio, Image, Region, Sample, Text, Video, chat

DATA = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png((i, 0, 0)))
    return tmp_path


def source(kind: str, folder: Path | str, **changes: Any) -> Any:
    return Source.Config.from_dict({"type": kind, "folder": str(folder), **changes}).build()


def lines(folder: Path, *records: Any, name: str = "a.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))


def parquet(file: Path, rows: list[dict[str, Any]], group: int, compression: str = "snappy") -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=group, compression=compression)


def says(*texts: str, **more: Any) -> dict[str, Any]:
    """A record in LLaVA's form."""
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]
    return {"conversations": turns, **more}


BAD = {
    "llava": [
        (says("<image> and <image>?", "b", image="1.png"), "<image> stands in 2 places, and there are 1"),
        (says("what?", "b", image=["1.png"]), "<image> stands in 0 places, and there are 1"),
        (says("<image>", "b"), "<image> stands in 1 places, and there are 0"),
        (says("<image>", "b", image="no.png"), r"no file .*no\.png; restore it"),
        (says("<image>", "b", image="../x.png"), "leads out of"),
        (says("<image>", "b", image="https://example.org/x.png"), "is an address; fetch the file into"),
        (says("<image>", "b", image="file:///etc/passwd"), "is an address"),
        (says("<image>", "b", image="a\0b"), "cannot be a path"),
        (says("<image>", "b", image="x" * 5000), "cannot be a path"),
        (says("<image>", "b", image=7), "field 'image' is 7; it must be the path of a file"),
        (says("<image>", "b", image="data:image/png;base64,?"), "no data URI in base64"),
        ({"conversations": "hello"}, "field 'conversations' is 'hello'; expected a list of turns"),
        ({"conversations": [3]}, "conversations.0 is 3; expected role and content"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "is said by 'tool'; expected one of system, user"),
        ({"conversations": [{"from": ["x"], "value": "x"}]}, r"is said by \['x'\]"),
        ({"conversations": [{"from": "gpt", "value": None}]}, "says None; expected text or a list of parts"),
    ],
    "messages": [
        ({"messages": [{"role": "user", "content": [{"type": "gif"}]}]}, "messages.0.0 is {'type': 'gif'}; expected"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "<image> stands in 1 places, and .* 0"),
        ({"messages": [{"role": "user", "content": "<video>"}]}, "<video> stands in 1 places"),
    ],
    "interleaved": [
        ({"texts": ["a"], "images": []}, "1 texts and 0 images; fill each list up with null"),
        ({"texts": ["a"], "images": ["1.png"]}, "place 0 has 'a' and '1.png'; one must be null"),
        ({"texts": [1], "images": [None]}, "place 0 has 1 and None"),
        ({"texts": "a", "images": []}, "field 'texts' is 'a'; expected a list"),
        ({"texts": [None], "images": ["http://x/y.png"]}, "is an address"),
    ],
    "mmc4": [
        ({"text_list": "a"}, "text_list is 'a'; expected a list of texts"),
        ({"text_list": ["a"], "image_info": [{"matched_sim": 1, "matched_text_index": 1}]}, "a number, and one"),
        ({"text_list": ["a"], "image_info": [{"matched_sim": "1"}]}, "image_info 0: found matched_sim '1'"),
        ({"text_list": ["a"], "image_info": ["x"]}, "image_info 0: found 'x'"),
    ],
    "cauldron": [
        ({"texts": []}, r"texts is \[\]; expected a list"),
        ({"texts": [{"user": "a"}], "r": [5]}, "expected user and assistant"),
        ({"texts": [{"user": "a", "assistant": "b"}], "r": [5, 5]}, "expected 1 ratings"),
        ({"texts": [{"user": "a", "assistant": "b"}], "r": ["5"]}, "expected 1 ratings"),
    ],
    "preference": [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are both 'b'"),
        ({"prompt": "a", "chosen": "b"}, "field 'rejected' is None"),
        ({"chosen": "b", "rejected": "c"}, "no 'prompt', and the answers begin differently"),
    ],
    "sensorium": [
        ({"segments": [{"type": "sound"}]}, "no type 'sound'; expected text or image"),
        ({"segments": [{"type": "text", "text": "a", "role": "boss"}]}, "no role 'boss'"),
        ({"segments": [{"type": "image", "file": "../x.png"}]}, "leads out of"),
        ({"segments": None}, "expected a list 'segments'"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_record_that_is_wrong_is_named_when_it_is_read(kind: str, folder: Path) -> None:
    (folder.parent / "x.png").write_bytes(png((0, 0, 0)))
    lines(folder, *(record for record, _ in BAD[kind]), "a list", name="data.jsonl")
    (folder / "data.jsonl").open("ab").write(b'{"id": "\xff"}\n{"id": 1,\n')
    changes = {"least": {"r": 2}} if kind == "cauldron" else {}
    found = source(kind, folder, file="data.jsonl", **changes)
    assert len(found) == len(BAD[kind]) + 3
    expected = [*(message for _, message in BAD[kind]), "not a JSON object|a str", "not JSON .*utf-8", "not JSON"]
    for index, message in enumerate(expected):
        with pytest.raises(DataError, match=rf"data\.jsonl, line {index + 1}[:,] .*({message})"):
            found[index]


def test_marks_are_where_pictures_stand(folder: Path) -> None:
    lines(folder, says("<image>\nFirst.\n<image>\n\nThen <image>?", "yes", image=["0.png", "1.png", "2.png"]))
    (sample,) = [source("llava", folder, file="*.jsonl")[0]]
    at = [Image(folder / f"{i}.png") for i in range(3)]
    said = [at[0], Text("First."), at[1], Text("\nThen "), at[2], Text("?")]
    assert sample.segments == (*said, Text("yes", role="assistant", supervise=True))
    assert (sample.id, sample.source) == ("a-line-1", folder.name)


def test_typed_parts_columns_and_uris(folder: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(png((9, 9, 9))).decode()
    parts = [
        {"type": "image"},
        {"type": "text", "text": "<image> is HTML?"},
        {"type": "image_url", "image_url": {"url": uri}},
    ]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "No."}]}
    lines(folder, {"images": "3.png", "messages": [{"role": "user", "content": parts}, answer]})
    sample = source("messages", folder)[0]
    assert sample.segments[:3] == (Image(folder / "3.png"), Text("<image> is HTML?"), Image(png((9, 9, 9))))
    lines(folder, {"audios": ["0.png"], "messages": [{"role": "user", "content": "<audio>"}]})
    assert source("messages", folder)[0].segments == (Audio(folder / "0.png"),)
    lines(folder, {"videos": ["0.png"], "messages": [{"role": "user", "content": "<video>"}]})
    assert source("messages", folder)[0].segments == (Video(folder / "0.png", frames=8),)


def test_lists_lines_rows_and_csv_say_the_same(folder: Path) -> None:
    records = [says('<image>Ü“漢🙂\\" [,]{}', f"{i}\n", image=f"{i}.png", id=f"n{i}") for i in range(4)]
    lines(folder, *records)
    (folder / "b.json").write_text(json.dumps(records, indent=3, ensure_ascii=False))
    (folder / "c.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(records).replace("},", "} ,\n\t").encode())
    parquet(folder / "d.parquet", records, 2)
    want = [source("llava", folder, file="a.jsonl")[i] for i in range(4)]
    for file in ("b.json", "c.json", "d.parquet"):
        found = source("llava", folder, file=file)
        assert [found[i] for i in (3, 0, 2, 1)] == [want[i] for i in (3, 0, 2, 1)], file
    unnamed = [
        source("messages", folder, turns_field="conversations", images_field="image", id_field="no", file=f)
        for f in ("b.json", "[bc].json")
    ]
    assert [unnamed[0][3].id, unnamed[1][3].id, unnamed[1][4].id] == ["b-entry-4", "b-entry-4", "c-entry-1"]
    several = source("llava", folder, file="*.json")
    assert [several[i] for i in range(8)] == want * 2
    (folder / "e.tsv").write_text('id\timage\tcaption\n1\t0.png\t"two\nlines, ""é"""\n\n2\t1.png\tplain\n3\t2.png\n')
    table = source("jsonl", folder, file="e.tsv", style="caption")
    assert [table[i].segments[1].text for i in range(2)] == ['two\nlines, "é"', "plain"]
    with pytest.raises(DataError, match=r"e\.tsv, row 4: 2 cells and 3 names of columns"):
        table[2]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_entries_are_found_whatever_is_in_memory(chunk: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.data import spans
    from sensorium.data.files import Stored

    monkeypatch.setattr(spans, "CHUNK", chunk)
    values = [1.5, 12, 'a]\\"', {"b": [1, {"c": "é"}]}, [], None, "x" * 300, 7]
    raw = json.dumps(values, ensure_ascii=False).encode()
    (folder / "v.json").write_bytes(raw)
    found = spans.find_entries(Stored(folder / "v.json"))
    cut = [raw[o : o + n] for o, n in zip(found["offsets"].tolist(), found["lengths"].tolist(), strict=True)]
    assert [json.loads(one) for one in cut] == values
    for broken in (raw[:-1], raw.replace(b",", b"", 1), b"[1, oops]"):
        (folder / "v.json").write_bytes(broken)
        with pytest.raises(DataError, match=r"v\.json: not a JSON list, from byte"):
            spans.find_entries(Stored(folder / "v.json"))


def test_files_without_records_are_refused_at_once(folder: Path) -> None:
    (folder / "a.json").write_text("[]")
    (folder / "b.json").write_text('[{"id": 1}')
    (folder / "c.jsonl.gz").write_bytes(b"\x1f\x8b")
    (folder / "d.parquet").write_bytes(b"PAR1 or not")
    for file, message in (("a.json", "holds no lines"), ("b.json", "not a JSON list"), ("c.jsonl.gz", "is compressed"),
                          ("d.parquet", "not readable as parquet"), ("*.x", "no file matches"),
                          ("x.json", r"no file .*x\.json"), ("../a.json", "leads out")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            source("llava", folder, file=file)


def test_splits_are_disjoint_and_complete(folder: Path) -> None:
    lines(folder, *(says("<image>?", str(i), image=f"{i % 4}.png", id=f"{i // 3}") for i in range(40)))
    alone = {"file": "*.jsonl", "held_out": 0.4}
    rows = [
        {"texts": [{"user": f"q{i}", "assistant": "a"}], "images": [{"bytes": png((i // 4, 1, 1))}]} for i in range(40)
    ]
    parquet(folder / "p.parquet", rows, 7)
    shard(folder / "s.tar", pairs(range(40), 3))
    cases = [
        ("llava", {**alone, "together": ["id"]}, lambda s: s.id, 40),
        ("cauldron", {"held_out": 0.4, "together": ["images"]}, lambda s: s.images[0].source, 40),
        ("cauldron", {"held_out": 0.4}, lambda s: s.id, 40),
        ("captions", {"held_out": 0.4, "caption": "{name}"}, lambda s: s.meta["caption"], 40),
        ("pictures", {"held_out": 0.4, "captions": "name"}, lambda s: s.id, 4),
    ]
    for kind, settings, group, count in cases:
        halves = []
        for split in ("train", "test"):
            half = source(kind, folder, split=split, **settings)
            halves.append([half[i] for i in range(len(half))])
        train, test = ({group(sample) for sample in half} for half in halves)
        assert not train & test, kind
        assert sum(map(len, halves)) == count, kind
        assert len(test) > 0 or count < 10, kind
    linked = [len(source("llava", folder, split=split, **alone)) for split in ("train", "test")]
    assert sorted(linked) == [0, 40], "ids and pictures tie all records together"


def test_a_sample_is_the_same_again_and_in_another_process(folder: Path) -> None:
    lines(folder, *(says("<image>?", str(i), image=f"{i % 4}.png", id=f"{i}") for i in range(9)))
    rows = [{"texts": [{"user": f"q{i}", "assistant": "a"}], "images": [{"bytes": png((i, 1, 1))}]} for i in range(9)]
    parquet(folder / "p.parquet", rows, 2)
    shard(folder / "s.tar", pairs(range(9), 3))
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9))  # old enough for indexes to be kept
    described = [{"type": "llava", "file": "*.jsonl"}, {"type": "cauldron"}, {"type": "tar", "caption": "{name}",
                 "turns": [["?", "{name}"]]}]  # fmt: skip
    described = [{**one, "folder": str(folder), "split": "train", "held_out": 0.2} for one in described]
    program = (
        "import json, sys\nfrom sensorium.data.source import Source\n"
        "for one in json.loads(sys.argv[1]):\n    built = Source.Config.from_dict(one).build()\n"
        "    print([repr((built[i], built[i].meta)) for i in reversed(range(len(built)))])\n"
        "assert 'torch' not in sys.modules\n"
    )
    here = []
    for one in described:
        built = Source.Config.from_dict(one).build()
        here.append(str([repr((built[i], built[i].meta)) for i in range(len(built))][::-1]))
        assert len(built) > 3
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(described)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == here


def test_ratings_choose_rows_and_texts(folder: Path) -> None:
    rows = [{"images": [{"bytes": png((1, 1, 1))}], "r": [a, b],
             "texts": [{"user": "q0", "assistant": "a0"}, {"user": "q1", "assistant": "a1"}]}
            for a, b in ((1, 1), (5, 1), (None, 1), (1, 4), (3, 3))]  # fmt: skip
    parquet(folder / "p.parquet", rows, 2)
    found = source("cauldron", folder, least={"r": 3})
    answers = [[s.text for s in found[i].segments if s.supervise] for i in range(len(found))]
    assert answers == [["a0"], ["a0"], ["a1"], ["a0", "a1"]]
    assert [found[i].id for i in range(4)] == [f"p-row-{n}" for n in (2, 3, 4, 5)]
    assert "bytes" not in str(found[0].meta["record"]["images"]), "pictures are not kept twice"


def test_parquet_keeps_few_row_groups(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    from sensorium.data import parquet as rows_of

    rows = [{"texts": [{"user": f"q{i}", "assistant": "a"}], "images": [{"bytes": png((i, 1, 1))}]} for i in range(60)]
    parquet(folder / "p.parquet", rows, 6)
    found = source("cauldron", folder)
    rows_of._group.cache_clear()
    for i in (59, 0, 31, 7, 22, 58, 1, 30):
        assert found[i].segments[1] == Text(f"q{i}")
        assert open_picture(found[i].images[0].source).getpixel((0, 0)) == (i, 1, 1)
    assert rows_of._group.cache_info().currsize <= rows_of.REMEMBERED


def test_parquet_with_bytes_that_are_no_text(folder: Path) -> None:
    """pyarrow lets them pass until they are asked for, and then raises what is none of its own errors."""
    turns = [{"user": f"question {i}", "assistant": "a"} for i in range(3)]
    rows = [{"texts": [turn], "images": [{"bytes": png((1, 1, 1))}]} for turn in turns]
    parquet(folder / "p.parquet", rows, 3, compression="none")
    whole = (folder / "p.parquet").read_bytes()
    (folder / "p.parquet").write_bytes(whole.replace(b"question 1", b"question\xff1"))
    found = source("cauldron", folder)
    assert [found[i].segments[1].text for i in (0, 2)] == ["question 0", "question 2"]
    with pytest.raises(DataError, match=r"p\.parquet, row 2: not readable as parquet \('utf-8' codec"):
        found[1]
    (folder / "p.parquet").write_bytes(whole.replace(b"assistant", b"assist\xffnt"))
    with pytest.raises(DataError, match=r"p\.parquet: not readable as parquet \('utf-8' codec"):
        source("cauldron", folder)


def test_preferences_in_both_forms(folder: Path) -> None:
    first = [{"role": "user", "content": "Look: <image>"}]
    chosen, rejected = ([*first, {"role": "assistant", "content": text}] for text in ("good", "bad"))
    lines(folder, {"images": ["1.png"], "chosen": chosen, "rejected": rejected},
          {"images": ["1.png"], "prompt": first, "chosen": chosen[1:], "rejected": "bad"})  # fmt: skip
    found = source("preference", folder)
    assert found[0].segments == found[1].segments
    assert found[0].segments == (
        Text("Look: "),
        Image(folder / "1.png"),
        Text("good", role="assistant", supervise=True),
    )
    assert found[0].meta["rejected"] == found[1].meta["rejected"] == "bad"


def test_pages_with_pictures_behind_their_sentences(folder: Path) -> None:
    info = [{"image_name": f"{i}.png", "matched_text_index": t, "matched_sim": s}
            for i, t, s in ((0, 2, 0.9), (1, 0, 0.5), (2, 0, 0.24), (3, 1, 0.2))]  # fmt: skip
    lines(folder, {"text_list": ["a", "b", "c"], "image_info": info})
    told = [getattr(s, "text", None) or s.source.name for s in source("mmc4", folder, pictures="after")[0].segments]
    assert told == ["a", "1.png", "2.png", "b c", "0.png"]
    told = [getattr(s, "text", None) or s.source.name for s in source("mmc4", folder, least=0.3)[0].segments]
    assert told == ["1.png", "a b", "0.png", "c"]


def test_modalities_that_do_not_align_are_named(folder: Path) -> None:
    (folder / "caption").mkdir()
    for name in ("0/a", "0/b", "1/a"):
        (folder / "caption" / name).parent.mkdir(exist_ok=True)
        (folder / "caption" / f"{name}.txt").write_text(name)
    (folder / "rgb").mkdir()
    shard(folder / "rgb" / "0.tar", {"b.png": png((1, 0, 0)), "a.png": png((2, 0, 0)), "c.png": png((3, 0, 0))})
    shard(folder / "rgb" / "1.tar", {"a.png": png((4, 0, 0)), "t.npy": b"tokens"})
    modalities = [{"name": "rgb", "kind": "image"}, {"name": "caption", "kind": "text"}]
    found = source("aligned", folder, modalities=modalities)
    told = [(s.text, open_picture(i.source).getpixel((0, 0))[0]) for i, s in (found[n].segments for n in (0, 1, 3))]
    assert told == [("0/b", 1), ("0/a", 2), ("1/a", 4)]
    with pytest.raises(DataError, match="caption/0/c: no such file, and another modality has one"):
        found[2]
    with pytest.raises(DataError, match=r"rgb/1/t: found \.npy in .*1\.tar; as image, \.png, .* are read"):
        found[4]
    with pytest.raises(ConfigError, match="kind"):
        source("aligned", folder, modalities=[{"name": "rgb", "kind": "tokens"}])


def test_what_is_written_is_read_exactly(folder: Path) -> None:
    class Drawn:
        size = (3, 2)

        def open(self) -> Any:
            return open_picture(png((5, 6, 7), (3, 2)))

    regions = (Region((0.1, 0.2, 1 / 3, 0.7), "é"),)
    samples = [
        chat([str(folder / "1.png"), folder / "2.png", png((8, 8, 8))], [("a\n", "b\ud800")], id="x/1", source="s"),
        Sample((Image(Drawn(), regions=regions, role="document", id="i"), Text("", role="system", id="t"))),
        Sample((), id="none", meta={"a": [1, 2.5, None, {"b": "ü"}]}),
    ]
    assert write_jsonl(iter(samples), folder / "out") == 3
    found = source("sensorium", folder / "out")
    for i, sample in enumerate(samples):
        back = found[i]
        assert (back.id, back.source, back.meta) == (sample.id, sample.source, sample.meta)
        plain = [s if isinstance(s, Text) else (s.role, s.regions, s.id, s.supervise) for s in sample.segments]
        assert [s if isinstance(s, Text) else (s.role, s.regions, s.id, s.supervise) for s in back.segments] == plain
    raw = [image.source.read_bytes() for image in found[0].images]
    assert raw == [png((1, 0, 0)), png((2, 0, 0)), png((8, 8, 8))], "byte for byte"
    assert open_picture(found[1].images[0].source).tobytes() == Drawn().open().tobytes()
    again = [found[i] for i in range(3)]
    write_jsonl(again, folder / "again")
    lines_of = [(folder / name / "data.jsonl").read_bytes() for name in ("out", "again")]
    assert lines_of[0] == lines_of[1]
    for bad in (
        Sample((Text("a"),), meta={"t": (1, 2)}),
        Sample((Image(b"no picture"),)),
        Sample((), meta={"n": {1: 2}}),
    ):
        with pytest.raises(DataError, match=r"JSON cannot hold its meta|cannot be read"):
            write_jsonl([bad], folder / "bad")
    assert not (folder / "bad" / "data.jsonl").exists()
    with pytest.raises(DataError, match="is there already"):
        write_jsonl([], folder / "out")


@pytest.mark.skipif(not (DATA / "digits").is_dir(), reason="set SENSORIUM_DATA to the folder with digits and emoji")
def test_real_tars_open() -> None:
    from sensorium.data.files import Stored
    from sensorium.data.shards import Shards

    digits = Shards([Stored(DATA / "digits" / "digits.tar")])
    shard, place = digits[1234]
    assert len(digits) == 2000
    assert shard.members(place)[".wav"].read()[:4] == b"RIFF"
    emoji = source("tar", DATA / "emoji", caption="{labels.en}", turns=[["?", "{labels.en}"]])
    assert len(emoji) == 2902
    assert picture_size(emoji[2000].images[0].source) == (64, 64)
