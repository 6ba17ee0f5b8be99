"""Bad input: every message names the key, the file or the line, says what was found, and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from toy import Toy, png, toy_model, toy_recipe

import sensorium as sm
from sensorium.config import load_parts
from sensorium.connectors.linear import Linear
from sensorium.data.images import open_picture, picture_size
from sensorium.data.quarantine import Quarantine, Refusal
from sensorium.errors import CheckpointError, ConfigError, DataError, LayoutError
from sensorium.recipe import find_recipe
from sensorium.sample import Image, Sample, Text
from sensorium.training.trainer import open_run, train

OVERRIDES = {
    # what the user types -> what the message must say
    "model.connector=mpl": "model.connector: unknown connector 'mpl': did you mean 'mlp'?",
    "model.encoder={}": "model.encoder: the encoder has no 'type': choose from: .*vit",
    "stages.0.data.0.source=too": "stages.0.data.0.source: unknown source 'too': did you mean .*'toy'",
    "stages.0.objective=next_token": "stages.0.objective: unknown objective 'next_token': did you mean 'next-token'",
    "model.encoder.widht=3": "model.encoder: unknown key 'widht': did you mean 'width'",
    "modell=3": "unknown key 'modell': did you mean 'model'",
    "model.template.user.prefx=a": "model.template.user: unknown key 'prefx': did you mean 'prefix'",
    "stages.0.lr.x=3": r"stages.0.lr is the value 0.003 and has no key 'x'",
    "stages.5.lr=1": "stages has entries 0 to 1, found '5'",
    "stages.0.lrr.x=1": "stages.0 has no key 'lrr': did you mean 'lr'",
    "nonsense": "'nonsense' is not an override: write key=value, for example stages.0.lr=3e-4",
    "stages.0.name=[": r"'stages.0.name=\[': the value '\[' is not YAML",
    "stages.0.steps=many": "stages.0.steps: .*valid integer.*found 'many'",
    "stages.0.steps=-1": "stages.0.steps: .*greater than or equal to 0 .found -1",
    "stages.0.trainable=[conector]": "stages.0.trainable.0: .*'connector'.*found 'conector'",
    "stages.0.lr_of={encodr: 1}": "stages.0: lr_of names 'encodr': did you mean 'encoder'",
    "stages.0.data=[]": "stages.0.data: .*at least 1 item",
    "stages.0.micro_rows=3": "stages.0: rows 4 is not a multiple of micro_rows 3",
    "model.encoder.num_heads=3": "model.encoder: width 16 is not a multiple of num_heads 3; change one",
    "model.encoder.image_size=18": "model.encoder: image_size 18 is not a multiple of patch_size 4; change one",
    "model.backbone.num_heads=3": "model.backbone: width 32 does not split into 3 heads of even size; change one",
    "model.backbone.num_kv_heads=3": "model.backbone: num_heads 4 is no multiple of num_kv_heads 3; change one",
    "model.connector.latents=96": "model: one picture takes 96 tokens and the context is 96: raise context, or choose",
    "stages.0.length=64": "stages.0.length is 64 and model.context 96: .* lower the context or raise the length",
}


@pytest.mark.parametrize("assignment", OVERRIDES)
def test_overrides(assignment: str) -> None:
    with pytest.raises(ConfigError, match=OVERRIDES[assignment]) as caught:
        toy_recipe(assignment)
    assert assignment in str(caught.value)
    assert "Value error" not in str(caught.value)


FILES = {
    "not YAML": (b"name: x\nmodel: [1,\n b: 2", 'recipe.yaml: not YAML: .*recipe.yaml", line 3'),
    "a list": (b"- 1\n- 2", "recipe.yaml: found list; expected a mapping of the keys name, .*model, .*stages"),
    "empty": (b"", "recipe.yaml: found NoneType; expected a mapping"),
    "binary": (b"\xff\xfe\x00\x01", "recipe.yaml: not YAML"),
    "keys are missing": (b"name: x\nmodel: {encoder: vit}\n", r"in .*recipe.yaml:\n  model.connector: Field required"),
}


@pytest.mark.parametrize("kind", FILES)
def test_recipe_files(kind: str, tmp_path: Path) -> None:
    content, message = FILES[kind]
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=re.compile(message, re.DOTALL)):
        find_recipe(str(tmp_path / "recipe.yaml"))


def test_files_and_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.yaml: no such file"):
        find_recipe(str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigError, match="unknown recipe 'no-such'"):
        find_recipe("no-such")
    with pytest.raises(ConfigError, match=r"parts.py: no such file; give a Python file"):
        load_parts(tmp_path / "parts.py")
    (tmp_path / "parts.py").write_text("def broken(:\n")
    with pytest.raises(ConfigError, match=r"parts.py: SyntaxError"):
        load_parts(tmp_path / "parts.py")


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("name", ["part", "type", "build"])
def test_a_field_that_would_hide_what_every_config_has(name: str) -> None:
    written = {"__annotations__": {name: str}, "__module__": "mine", "__qualname__": "Mine.Config"}
    with pytest.raises(ConfigError, match=rf"mine\.Mine\.Config: a field cannot be called '{name}', which every part"):
        type("Config", (Linear.Config,), written)


# samples


def test_text_longer_than_the_context() -> None:
    model, long = toy_model(), sm.chat([], [("why? " * 200, "because " * 200)], id="7", source="essays")
    with pytest.raises(LayoutError, match=r"essays/7: \d+ tokens do not fit the context of 96; .*overflow=truncate"):
        model.layout(long)
    with pytest.raises(LayoutError, match=r"the prompt takes \d+ tokens and the context is 96; shorten it"):
        model.generate(["why? " * 200])
    with pytest.raises(LayoutError, match="do not fit the context of 96"):
        model.rank(["why?"], ["no", "because " * 200])
    cut = toy_model("model.overflow=truncate")
    assert len(cut.layout(long)) == 96
    with pytest.raises(LayoutError, match="do not fit"):  # part of an answer would be another answer
        cut.rank(["why?"], ["because " * 200])


PROMPTS: dict[str, tuple[list, str]] = {
    "placeholder without picture": (["<|image|> what?"], "the placeholder '<|image|>' without a picture; give the"),
    "no such picture": ([Image("/no/such.png")], "no file /no/such.png; check the path"),
    "not a picture": ([Image(b"not a picture", id="slide 3")], "slide 3: 13 bytes is no picture of a known format"),
    "picture cut short": ([Image(png("red", (32, 32))[:60], id="scan")], "scan: cannot decode 60 bytes: .*; re-save"),
    "a folder": ([Image(Path("/tmp"))], "/tmp is not a readable file; check the path"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROMPTS)
def test_prompts(kind: str) -> None:
    prompt, message = PROMPTS[kind]
    with pytest.raises(DataError, match=message):
        toy_model().generate([*prompt, Text("what is it?")])


def test_damaged_pictures_are_data_errors_and_nothing_else() -> None:
    whole = png("red", (32, 32))
    for place in range(8, len(whole)):
        for damaged in (whole[:place], whole[:place] + b"\xa5" + whole[place + 1 :]):
            for read in (picture_size, open_picture):
                with suppress(DataError):
                    read(damaged, "scan")
    for place in range(8, whole.index(b"IDAT") + 8):
        with pytest.raises(DataError, match="scan"):
            open_picture(whole[:place], "scan")


class Broken:
    """A picture whose own code fails, in the way that its name says."""

    def __init__(self, fails: str) -> None:
        self.fails = fails

    @property
    def size(self) -> tuple[int, int]:
        return (16, 16) if self.fails == "open" else (1 // 0, 0)

    def open(self) -> Any:
        raise RuntimeError("the camera is gone")


class Cameras(Toy, name="cameras"):
    """Every third picture comes from a camera that is gone."""

    def __getitem__(self, index: int) -> Sample:
        if index % 3:
            return super().__getitem__(index)
        return sm.chat([Broken("open" if index % 2 else "size")], [("what?", "red")], id=str(index), source="cameras")


def test_a_picture_whose_own_code_fails_is_quarantined(tmp_path: Path) -> None:
    train(toy_recipe("stages.0.data=[{source: cameras}]"), tmp_path, quiet=True, stop_after=4)
    lines = [json.loads(line)["reason"] for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    for said in ("RuntimeError: the camera is gone", "ZeroDivisionError: "):
        assert any(re.match(rf"cameras/\d+: cannot open its Broken: {said}.*; correct or remove", r) for r in lines)


# training


def test_corrupt_pictures_are_quarantined_and_the_run_goes_on(tmp_path: Path) -> None:
    bad = tuple(range(0, 60, 5))
    change = f"stages.0.data=[{{source: {{type: toy, truncated: {list(bad)}}}}}]"
    train(toy_recipe(change, "stages.0.steps=10"), tmp_path, quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["reason"].startswith("toy/") and "re-save or remove" in line["reason"] for line in lines)
    assert {int(re.findall(r"toy/(\d+)", line["reason"])[0]) for line in lines} <= set(bad)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[9]["bad_samples"] == len(lines)
    assert len(log) == 16


def test_past_the_limit_the_run_stops(tmp_path: Path) -> None:
    change = f"stages.0.data=[{{source: {{type: toy, truncated: {list(range(60))}}}}}]"
    with pytest.raises(DataError, match=r"4 bad samples, more than the limit of 3; the last: toy/\d+: "):
        train(toy_recipe(change, "max_bad_samples=3"), tmp_path, quiet=True)


def test_the_limit_holds_for_the_whole_run(tmp_path: Path) -> None:
    refusals = [Refusal("toy", {"index": number}, "broken") for number in range(3)]
    Quarantine(tmp_path / "quarantine.jsonl", 2).add(refusals[:1], stage=0, row=0, pack=3)
    again = Quarantine(tmp_path / "quarantine.jsonl", 2)  # the next stage's
    again.add(refusals[1:2], stage=1, row=0, pack=1)
    with pytest.raises(DataError, match="3 bad samples"):
        again.add(refusals[2:], stage=1, row=1, pack=2)
    again.keep(lambda line: line["stage"] < 1)
    assert (again.count, len((tmp_path / "quarantine.jsonl").read_text().splitlines())) == (1, 1)


def test_a_source_without_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.0 \(Toy\) has no samples; check its folder and its filters"):
        train(toy_recipe("stages.0.data.0.source.samples=0"), tmp_path, quiet=True)


# folders


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after its second checkpoint."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(toy_recipe("save_every=2"), out, quiet=True, stop_after=5)
    return out


def test_output_folders_that_hold_something_else(stopped: Path, tmp_path: Path) -> None:
    recipe = toy_recipe("save_every=2")
    with pytest.raises(CheckpointError, match="already holds this run; add --resume to go on, or choose another --out"):
        train(recipe, stopped, quiet=True)
    with pytest.raises(
        CheckpointError, match=r"another recipe .see .*recipe.yaml.; choose another --out, or remove the folder"
    ):
        train(toy_recipe("seed=8"), stopped, resume=True, quiet=True)
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(CheckpointError, match=r"holds other files and no recipe.yaml; choose an empty folder"):
        train(recipe, tmp_path, quiet=True)
    with pytest.raises(CheckpointError, match=r"thesis.tex: is a file; choose a folder"):
        train(recipe, tmp_path / "thesis.tex", quiet=True)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


def test_a_run_killed_while_it_began_can_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(toy_recipe(), out, quiet=True)
    assert not (out / "recipe.yaml").exists(), "a recipe is there whole or not at all"
    assert open_run(toy_recipe(), out, resume=False) is None
    assert [file.name for file in out.iterdir()] == ["recipe.yaml"]


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing: not a model: it does not exist; give a folder that"):
        sm.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"not a model: it has no config.json, no model/ and no checkpoints/"):
        sm.load(tmp_path)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [cut, remove])
@pytest.mark.parametrize(
    "name",
    ["backbone.safetensors", "optimiser.safetensors", "state.json", "config.json", "tokenizer.json", "manifest.json"],
)
def test_checkpoints_that_are_not_whole(
    name: str, damage: Callable[[Path], None], stopped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    damage(out / "checkpoints" / "step-4" / name)
    with pytest.raises(CheckpointError, match=rf"step-4.*{name}.*earlier checkpoint.*remove this folder, and resume"):
        train(toy_recipe("save_every=2"), out, resume=True, quiet=True)
    with pytest.raises(CheckpointError, match=name):
        sm.load(out)


def test_what_the_message_advises_works(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    shutil.rmtree(out / "checkpoints" / "step-4")
    train(toy_recipe("save_every=2"), out, resume=True, quiet=True)
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_a_part_of_another_model(stopped: Path, tmp_path: Path) -> None:
    other = toy_model("model.backbone.depth=3")
    other.save(tmp_path / "other")
    out = tmp_path / "model"
    shutil.copytree(stopped / "checkpoints" / "step-4", out)
    manifest = json.loads((out / "manifest.json").read_text())
    shutil.copy(tmp_path / "other" / "backbone.safetensors", out)
    del manifest["files"]["backbone.safetensors"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"backbone.safetensors: holds 9 unknown tensors, first 'blocks.2"):
        sm.load(out)


def test_toy_is_what_these_tests_think() -> None:
    """The cut pictures have a whole header, so that only decoding finds them out."""
    sample = Toy(Toy.Config(truncated=(0,)))[0]
    assert picture_size(sample.images[0].source) == (16, 16)
    with pytest.raises(DataError, match="cannot decode"):
        open_picture(sample.images[0].source)
