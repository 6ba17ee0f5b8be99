"""The pages people look at: they hold what they must, run nothing that data says, and need nothing from elsewhere."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import toy  # noqa: F401
from PIL import Image as PILImage
from rich.console import Console

import sensorium as sm
from sensorium.data.share import Share
from sensorium.data.source import Source
from sensorium.evaluation.results import evaluation, merge, write_evaluation
from sensorium.evaluation.suite import Case, Metric, Report, proportion
from sensorium.pages import charts, formats
from sensorium.pages.demo import run_demo
from sensorium.pages.html import Html, image, tag
from sensorium.pages.inspect import make_layout, write_inspection
from sensorium.pages.laid import chips
from sensorium.pages.report import write_report
from sensorium.pages.results import gallery, verdict
from sensorium.pages.run import read_log, read_run
from sensorium.pages.survey import labels, survey
from sensorium.pages.terminal import half_blocks, metrics_table, show_examples
from sensorium.recipe import Recipe
from sensorium.sample import Image, Sample, Text

HOSTILE = '<script>alert("x")</script><img src=https://evil.example/x onerror=alert(1)>'
ROOT = Path(__file__).parent.parent


def encoded(size: tuple[int, int], colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", size, colour).save(buffer, "jpeg")
    return buffer.getvalue()


def cut_short() -> bytes:
    """A picture whose header can be read and whose pixels cannot."""
    buffer = io.BytesIO()
    PILImage.effect_noise((40, 30), 80).convert("RGB").save(buffer, "jpeg")
    return buffer.getvalue()[: 3 * len(buffer.getvalue()) // 4]


class Hostile(Source, name="hostile"):
    """Refused are 3 for its picture's header, 6 for the rest of it, 9 for its text; all would like to run a script."""

    def __len__(self) -> int:
        return 18

    def __getitem__(self, index: int) -> Sample:
        picture = b"no picture" if index == 3 else encoded((40, 20 + index))
        picture = cut_short() if index == 6 else picture
        question = "where is <|image|>?" if index == 9 else HOSTILE
        return sm.chat([picture], [(question, "a ünï " + HOSTILE)], id=f"{HOSTILE}{index}", source="hostile")


def recipe(*assignments: str) -> Recipe:
    model = {
        "encoder": {"type": "vit", "image_size": 16, "patch_size": 4, "width": 16, "depth": 1, "num_heads": 2},
        "tiling": {"type": "grid", "max_rows": 2, "max_columns": 2},
        "connector": "linear",
        "backbone": {"type": "decoder", "width": 32, "depth": 1, "mlp_width": 32},
        "tokenizer": {"type": "bpe", "vocab_size": 300, "corpus": ["hostile"]},
        "context": 400,
    }
    stage = {"data": [{"source": "hostile"}], "steps": 2, "warmup": 1, "length": 512, "rows": 1, "buffer": 8}
    stages = [{"name": "first", **stage}, {"name": HOSTILE, **stage, "trainable": ["connector"]}]
    made = {"name": "pages", "summary": HOSTILE, "model": model, "stages": stages}
    return Recipe.from_dict(made).override(*assignments)


def reports() -> list[Report]:
    """One right answer, one wrong, one caption, about two pictures; a metric over nothing; a loss."""
    first = Sample((Image(encoded((30, 30))), Text(HOSTILE)), id=HOSTILE, source="hostile")
    second = Sample((Image(encoded((500, 300), "blue")), Text("q")), id="two", source="hostile")
    cases = [
        Case(first, "how many?", "three", "three", "count"),
        Case(first, HOSTILE, HOSTILE, "the truth", "colour"),
        Case(second, "describe", "a blue thing", "a wholly blue thing", "caption"),
    ]
    metrics = {
        "accuracy": replace(proportion(87, 100), goal=0.8),
        "accuracy/count": replace(proportion(9, 10), goal=0.95),
        "accuracy/unseen": proportion(1, 4),
    }
    rest = {"chance": Metric(0.25, 100, (0.25, 0.25)), "nothing": proportion(0, 0), "loss": Metric(2.5, 9, (2.0, 3.0))}
    return [Report("toys", metrics | rest, cases)]


def blind_reports() -> list[Report]:
    sample = Sample((Image(encoded((30, 30))),), id=HOSTILE, source="hostile")
    return [
        Report(
            "toys",
            {"accuracy": replace(proportion(31, 100), goal=0.3)},
            [Case(sample, "how many?", "seven", "three", "count")],
        )
    ]


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(page: str) -> Reader:
    """No script, no handler, nothing fetched from anywhere."""
    reader = Reader(page)
    assert not {"script", "iframe", "object", "link", "base", "form"} & {name for name, _ in reader.elements}
    for name, attributes in reader.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, key)
            if key in ("src", "href", "srcset", "data", "action"):
                assert (value or "").startswith("data:image/"), (name, key, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in reader.elements)
    return reader


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pages") / "run"
    sm.train(recipe(), out, quiet=True)
    return out


# --- markup ---


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert tag("p", "<b>", Html("<i></i>"), 3, None, class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i></i>3</p>'
    assert tag("input", type="checkbox", checked=True, hidden=False) == '<input type="checkbox" checked>'


def test_large_pictures_are_made_small_and_small_ones_kept() -> None:
    large, small = image(PILImage.new("RGB", (3000, 2000))), image(PILImage.new("RGB", (64, 64)))
    assert "data:image/jpeg" in large
    assert len(large) < 10_000
    assert "data:image/png" in small
    assert "crisp" in small


# --- the report ---


def test_report_holds_what_it_must(run: Path, tmp_path: Path) -> None:
    file = write_report(run, reports(), tmp_path / "report.html", blind=blind_reports())
    page = file.read_text()
    text = assert_harmless(page).text
    assert "87.0 %" in text
    assert "79.0 – 92.2" in text  # Wilson's interval of 87 in 100
    for words in ("goal 80 %: reached, within noise", "goal at most 30 %: missed", "goal 95 %: missed"):
        assert words in text
    assert "2 of 3 goals missed" in text
    assert "31.0 %" in text
    assert "25.0 %" in text
    for words in ("By kind of question", "Under other conditions", "unseen", "Also measured", "2.5", "How it learned"):
        assert words in text
    assert "✓ three" in text
    assert "without the picture: seven" in text
    assert "the truth" in text
    assert "truth: a wholly blue thing" in text
    assert f"sensorium chat {run}" in text
    assert json.loads((run / "model" / "manifest.json").read_text())["packages"]["torch"] in text
    assert page.count("<polyline") == 3
    assert HOSTILE in text


def test_report_counts_the_parameters_that_are_there(run: Path) -> None:
    model = sm.load(run)
    distinct = {id(p): p.numel() for p in model.parameters()}
    assert sum(read_run(run).parameters.values()) == sum(distinct.values())


def test_report_of_a_run_without_examination(run: Path, tmp_path: Path) -> None:
    assert "How it learned" in assert_harmless(write_report(run, [], tmp_path / "r.html").read_text()).text


def test_log_of_a_resumed_run_counts_every_step_once(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": loss} for step, loss in ((1, 5.0), (2, 4.0), (3, 3.5), (2, 4.1), (3, 3.0))]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 4, "lo')
    assert [(step["step"], step["loss"]) for step in read_log(tmp_path / "log.jsonl")] == [(1, 5.0), (2, 4.1), (3, 3.0)]
    assert read_log(tmp_path / "nothing.jsonl") == []


# --- results ---


def test_metrics_of_twin_and_of_equal_suites_stay_apart(tmp_path: Path) -> None:
    twice = reports() + reports()
    names = set(merge(twice, blind_reports()))
    assert {"accuracy", "toys/accuracy", "blind/accuracy"} <= names
    assert evaluation(twice, [], "x")["suite"] == "toys"
    text = write_evaluation(tmp_path / "e.json", twice, blind_reports(), "x").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["metrics"]["nothing"]["value"] is None


@pytest.mark.parametrize(
    ("name", "hits", "goal", "found"),
    [
        ("accuracy", 87, None, ""),
        ("accuracy", 87, 0.7, "reached"),
        ("accuracy", 87, 0.87, "reached, within noise"),  # Wilson's interval of 87 in 100 is 79.0 to 92.2
        ("accuracy", 87, 0.88, "missed"),
        ("blind/accuracy", 31, 0.5, "reached"),
        ("blind/accuracy", 31, 0.31, "reached, within noise"),
        ("blind/accuracy", 31, 0.3, "missed"),
    ],
)
def test_a_goal_is_a_floor_for_the_model_and_a_ceiling_for_its_twin(
    name: str, hits: int, goal: float | None, found: str
) -> None:
    assert verdict(name, replace(proportion(hits, 100), goal=goal)) == found
    assert verdict(name, replace(proportion(0, 0), goal=goal)) == ""


def test_gallery_is_evenly_spaced_and_not_chosen() -> None:
    samples = [Sample((Image(b""),), id=str(i)) for i in range(100)]
    cases = [Case(sample, "q", "a", "a") for sample in samples for _ in range(3)]
    chosen = gallery([Report("s", {}, cases)], 4)
    assert list(chosen) == [f"sample/{i}" for i in (0, 25, 50, 75)]
    assert all(len(of_one) == 3 for of_one in chosen.values())


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (12_345, "12.3 k"), (1_240_000, "1.24 M"), (7.1e9, "7.10 B")]
)
def test_amounts(number: int, text: str) -> None:
    assert formats.amount(number) == text


def test_durations_and_values() -> None:
    assert [formats.duration(s) for s in (3.21, 59, 363, 7800)] == ["3.2 s", "59 s", "6 min 3 s", "2 h 10 min"]
    assert formats.value(proportion(0, 0)) == "–"
    assert formats.interval(proportion(0, 0)) == ""
    assert formats.value(Metric(2.5, 3, (2.0, 3.0))) == "2.5"


def test_curves_keep_their_ends_and_leave_out_what_is_not_finite() -> None:
    points = [(float(i), math.sin(i)) for i in range(10_000)]
    assert len(charts.thinned(points)) == 240
    assert charts.thinned(points)[-1][0] == 9999
    assert "nan" not in charts.curves("t", {"a": [(1, 2.0), (2, math.nan), (3, 1.0)]})
    assert charts.curves("t", {"a": []}) == ""


# --- the inspection ---


def test_inspection_holds_what_it_must(tmp_path: Path) -> None:
    page = write_inspection(recipe(), tmp_path / "i.html", packs=1, mapped=12).read_text()
    text = assert_harmless(page).text
    for words in ("What pages sees", "Stage 0: first", "Pack 1", "would be quarantined", "of the rows are filled"):
        assert words in text
    assert "holds the placeholder" in text
    assert "10 bytes" in text
    assert re.search(r"[12] × 2 tiles and an overview", text)
    assert HOSTILE in text


def test_chips_are_the_tokens_with_placeholders_counted() -> None:
    layout = make_layout(recipe())
    sample = Sample((Image(encoded((16, 16))), Text("why"), Text("so", role="assistant", supervise=True)))
    laid = layout(sample)
    drawn = list(chips(laid, layout.tokenizer))
    assert sum("▦" in chip for chip in drawn) == 1
    assert "▦ picture 1 × 16" in drawn[1]
    assert len(drawn) == len(laid) - 16 + 1
    assert sum(bool(re.search(r'class="[^"]*\bsup\b', chip)) for chip in drawn) == laid.supervised.sum()
    assert sum(bool(re.search(r'class="[^"]*\bmark\b', chip)) for chip in drawn) == 3  # user, assistant, end


def test_survey_reads_what_training_reads() -> None:
    made = recipe()
    seen = survey(made, 0, make_layout(made), packs=12)
    assert {bad.place for bad in seen.refused} == {"3", f"{HOSTILE}6", "9"}
    assert 0 < seen.efficiency <= 1
    assert [share["samples"] for _, share in seen.shares()] == [len(seen.drawn)]
    assert all(len(pack) for pack in seen.packs)
    stopped = survey(made.override("max_bad_samples=0"), 0, make_layout(made), packs=5)
    assert "more than the limit of 0" in stopped.stopped


def test_inspection_counts_each_source_and_each_reason(tmp_path: Path) -> None:
    broken = {"source": {"type": "toy", "broken": [0, 5, 10]}, "weight": 2}
    made = recipe(f"stages.0.data={json.dumps([{'source': 'hostile'}, broken])}")
    seen = survey(made, 0, make_layout(made), packs=12)
    kinds = {kind[0].reason: [bad.place for bad in kind] for kind in seen.reasons()}
    assert sum(map(len, kinds.values())) == len(seen.refused)
    assert ["0", "10", "5"] in [sorted(places) for places in kinds.values()]
    text = assert_harmless(write_inspection(made, tmp_path / "i.html", packs=1, mapped=12).read_text()).text
    drawn = [share["samples"] for _, share in seen.shares()]
    for label, count in zip(seen.labels, drawn, strict=True):
        assert f"Length of {count} samples of {label}" in text
    assert f"for {len(kinds)} reasons" in text


def test_sources_of_one_type_are_told_apart_by_their_folders_or_by_what_differs() -> None:
    def named(*configs: dict[str, Any]) -> list[str]:
        return labels(tuple(Share.from_dict({"source": config}) for config in configs))

    zoo, farm = ({"type": "jsonl", "folder": f"/data/{name}"} for name in ("zoo", "farm"))
    assert named(zoo, farm, {"type": "tar", "folder": "x"}) == ["jsonl zoo", "jsonl farm", "tar"]
    assert named(zoo, zoo | {"file": "b.csv"}) == ["jsonl (file=data.jsonl)", "jsonl (file=b.csv)"]


def test_inspection_of_the_blind_twin_has_no_pictures(tmp_path: Path) -> None:
    page = write_inspection(recipe("blind=true"), tmp_path / "i.html", packs=1, mapped=2).read_text()
    assert "<img" not in page
    assert "text-only twin" in page


# --- the terminal ---


def test_half_blocks_show_two_pixels_a_character() -> None:
    picture = PILImage.new("RGB", (8, 8), "red")
    picture.paste("blue", (0, 4, 8, 8))
    drawn = half_blocks(picture, columns=4)
    assert drawn.plain == "▀▀▀▀\n▀▀▀▀"
    assert "rgb(255,0,0)" in str(drawn.spans[0].style)
    assert "rgb(0,0,255)" in str(drawn.spans[-1].style)


def test_without_colours_there_are_only_words() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    show_examples(reports(), console)
    console.print(metrics_table(merge(reports(), blind_reports())))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "▀" not in shown
    assert "\x1b" not in shown
    for words in ("80 % ✓", "95 % ✗", "31.0 % ≤ 30 % ✗", "2 of 3 goals missed"):
        assert words in shown
    for words in ("✓ three", "truth: the", "a blue thing", "87.0 %", "31.0 %", "79.0 – 92.2"):
        assert words in shown
    assert shown.count("25.0 %") == 2  # one metric's value, and guessing beside the first metric alone


def test_demo_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made, out = recipe("save_every=1"), tmp_path / "demo"
    sm.train(made, out, quiet=True, stop_after=3)
    run_demo(made, out, quiet=True, console=Console(file=io.StringIO()))
    assert [step["step"] for step in read_log(out / "log.jsonl")] == [1, 2, 3, 4]
    assert (out / "blind" / "model").is_dir()
    assert (out / "report.html").is_file()
    assert json.loads((out / "eval.json").read_text())["metrics"] == {}


# --- the reference ---


def test_generated_reference_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
