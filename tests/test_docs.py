"""The documents say what is so: examples run as they stand, commands can be typed, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_contract as contract
import torch
import typer.main
from toy import toy_model
from typer.testing import CliRunner

import sensorium as sm
import sensorium.recipe as recipes
import sensorium.studies.study as studies
from sensorium import config
from sensorium.checks import check_names
from sensorium.cli import app
from sensorium.config import find_part, load_parts, part_families, part_names
from sensorium.model import compose
from sensorium.pages.command import hoisted
from sensorium.recipe import Recipe, find_recipe, recipe_names

ROOT = Path(__file__).parents[1]
ADDING, STUDIES, README = ROOT / "docs" / "adding-parts.md", ROOT / "docs" / "studies.md", ROOT / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SMALL = ("model.tokenizer.samples=20", "stages.0.length=256", "stages.1.length=256", "stages.0.rows=1",
         "stages.1.rows=1", "stages.0.buffer=8", "stages.1.buffer=8")  # fmt: skip
SILENT = ("--quiet", "-q", "--debug")
MODULES = ("encoder", "connector", "assembly", "backbone", "fusion", "head", "prior", "painter", "latents")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def files(page: Path) -> dict[str, str]:
    """The blocks that begin with the name of a file, by that name."""
    named = [re.match(r"# file: (\S+)\n(.*)", b, re.DOTALL) for lang in ("python", "yaml") for b in blocks(page, lang)]
    return {match[1]: match[2] for match in named if match}


def commands(page: Path) -> list[list[str]]:
    """The words of every `sensorium` command in a shell block, without redirections."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    found = [re.match(r"(?:\.venv/bin/)?sensorium (.*)", line) for line in lines]
    return [shlex.split(re.split(r" [<>] ", match[1])[0], comments=True) for match in found if match]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The example parts of docs/adding-parts.md by family, in files here and registered while this module runs, as the
    example of docs/studies.md is."""
    before = {family: set(part_names(family)) for family in part_families()}
    registered = {family: dict(members) for family, members in config._FAMILIES.items()}
    functions = {name: recipes.RECIPES[name] for name in recipe_names()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "_FAMILIES", registered)
        patch.setattr(recipes.RECIPES, "functions", functions)
        patch.setattr(studies.STUDIES, "functions", {name: studies.STUDIES[name] for name in studies.STUDIES.names()})
        patch.chdir(tmp_path_factory.mktemp("docs"))
        for name, text in (files(ADDING) | files(STUDIES)).items():
            Path(name).write_text(text)
            if name.endswith(".py"):
                load_parts(name)
        yield {family: name for family in before for name in set(part_names(family)) - before[family]}


@pytest.fixture(scope="module")
def run(written: dict[str, str]) -> Path:
    """The folder of the run that the walk's own command trains, with less data."""
    (words,) = [words for words in commands(ADDING) if "train" in words and "demo" in words]
    result = CliRunner().invoke(app, [*words, *SMALL, "--quiet"])
    assert result.exit_code == 0, result.output
    return Path(words[words.index("--out") + 1])


# --- adding-parts.md ---


def test_there_is_an_example_of_every_family(written: dict[str, str]) -> None:
    assert set(written) == set(part_families())


@pytest.mark.parametrize("family", MODULES)
def test_example_modules_keep_the_contract(family: str, written: dict[str, str], tmp_path: Path) -> None:
    case = contract.Case(family, written[family])
    contract.test_shape_is_what_was_announced(case)
    contract.test_an_empty_batch_gives_zero_gradients(case)
    contract.test_gradient_reaches_what_is_trainable_and_nothing_else(case)
    contract.test_saved_and_loaded_it_gives_the_same(case, tmp_path)
    contract.test_bfloat16_autocast_is_close(case)
    if family not in ("fusion", "assembly"):
        contract.test_items_of_a_batch_do_not_see_each_other(case)


def test_other_examples_keep_the_contract(written: dict[str, str], tmp_path: Path) -> None:
    contract.test_encoder_announces_its_grid(written["encoder"])
    contract.test_fusion_keeps_samples_apart(written["fusion"])
    contract.test_assembly_keeps_pictures_apart(written["assembly"])
    contract.test_tiling_cuts_what_it_plans(written["tiling"], (24, 16))
    contract.test_tiling_knows_what_each_tile_shows(written["tiling"], (64, 32))
    backbone, tokenizer, objective = contract.TestBackbone(), contract.TestTokenizer(), contract.TestObjective()
    backbone.test_embeddings_and_layers(written["backbone"])
    for masked in (False, True):
        backbone.test_no_token_sees_a_later_one_or_another_sample(written["backbone"], masked)
    backbone.test_cached_steps_equal_one_pass(written["backbone"])
    tokenizer.test_text_round_trips(written["tokenizer"])
    tokenizer.test_marks_are_special_only_where_the_template_writes_them(written["tokenizer"])
    tokenizer.test_saved_and_read_and_made_again_it_is_the_same(written["tokenizer"], tmp_path)
    for name in ("smoothed", "triplets"):
        objective.test_sums_and_counts_add_up(name)
        objective.test_nothing_supervised_is_no_loss(name)
        objective.test_gradient_and_bfloat16(name)
    policy = find_part("policy", written["policy"])(targets=({"type": "toy"}, {"type": "toy"}))
    assert policy.build().weights([1, 2], [[9, 9], [3, 4]]) == [3, 8]
    contract.test_document_filter_learns_only_what_it_is_told_to_remember(written["document-filter"])


def test_the_walk_trains_a_model_that_answers(run: Path) -> None:
    assert len((run / "log.jsonl").read_text().splitlines()) == 4
    model = sm.load(run)
    assert model.config.connector.type_name == "pool"
    rows, columns = model.config.encoder.grid
    assert model.config.tile.tokens == rows * columns // 4
    assert isinstance(model.generate(["Is there a star?"], max_tokens=2), str)


def test_new_adapters_merge_into_what_they_were(written: dict[str, str]) -> None:
    model = toy_model()
    gate = model.backbone.layers[1].get_submodule("gate")
    x, before = torch.randn(3, 32), gate.get_parameter("weight").clone()
    model.adapt(find_part("adapters", written["adapters"])())
    assert torch.equal(gate(x), x @ before.T)
    for scale in model.adapters.parameters():
        torch.nn.init.constant_(scale, 2)
    doubled = gate(x)
    model.adapters.merge(model.backbone)
    assert torch.equal(gate(x), doubled)
    torch.testing.assert_close(doubled, 2 * x @ before.T)


def test_the_new_part_is_checked_by_name(written: dict[str, str]) -> None:
    (words,) = [words for words in commands(ADDING) if "check" in words]
    result = CliRunner().invoke(app, [*words, *SMALL, "--only", "token-count", "--only", "gradients"])
    assert result.exit_code == 0, result.output


def test_an_edit_carries_a_part_over(run: Path, written: dict[str, str]) -> None:
    model, trained = compose(sm.load(run).config), sm.load(run)
    assert not torch.equal(model.connector.projection.weight, trained.connector.projection.weight)
    find_part("edit", written["edit"]).from_dict({"other": str(run)}).build()(model, iter(()), lambda stage: model)
    assert torch.equal(model.connector.projection.weight, trained.connector.projection.weight)


def test_the_recipe_and_its_yaml(written: dict[str, str]) -> None:
    assert find_recipe("demo-pool").model.connector.type_name == "pool"
    train, examine = [words for words in commands(ADDING) if "counting.py" in words]
    changes = ("stages.0.steps=2", "stages.0.rows=1", "model.tokenizer.samples=20", "--quiet")
    trained = CliRunner().invoke(app, [*train, *changes])
    assert trained.exit_code == 0, trained.output
    examined = CliRunner().invoke(app, [*examine, "samples=9", "--quiet", "--json", "-"])
    assert '"n": 9' in examined.stdout, examined.output


# --- studies.md ---


def test_the_study_is_run_by_its_own_command(written: dict[str, str]) -> None:
    (words,) = [words for words in commands(STUDIES) if "connectors.py" in words]
    few = ("stages.0.steps=1", "stages.1.steps=1", "evaluation.0.questions=2", "evaluation.0.captions=0")
    fast = ("model.encoder.width=16", "model.backbone.depth=1", "evaluation.0.splits=[]")
    result = CliRunner().invoke(app, [*words, *SMALL, *few, *fast, "--seeds", "2", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "perceiver over mlp" in result.stdout
    found = json.loads(Path(words[words.index("--out") + 1], "study.json").read_text())
    assert [len(arm["values"]) for arm in found["arms"].values()] == [2, 2]


def test_ours_are_listed() -> None:
    listed = re.findall(r"^\| `([\w-]+)` \|", STUDIES.read_text().partition("## Ours")[2], re.MULTILINE)
    names = studies.STUDIES.names()
    assert sorted(listed) == [n for n in names if studies.STUDIES[n].__module__.startswith("sensorium.studies.")]


# --- README.md and the other pages ---


def test_the_readme_s_python(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for the model it loads and the training it starts."""
    (snippet,) = blocks(README, "python")
    asked: list[tuple[Recipe, str]] = []
    Path("runs/demo").symlink_to(run.absolute())
    monkeypatch.setattr("sensorium.training.trainer.train", lambda recipe, out: asked.append((recipe, out)))
    exec(compile(snippet, str(README), "exec"), {})
    ((recipe, _),) = asked
    assert recipe != find_recipe("demo")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_typed(page: Path, written: dict[str, str]) -> None:
    group = typer.main.get_command(app)
    for words in commands(page):
        words = [word for word in hoisted(words) if word not in SILENT]
        while words[0] == "--parts":
            assert Path(words[1]).is_file()
            words = words[2:]
        command, rest = group.commands[words[0]], words[1:]
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        given = command.make_context(words[0], list(rest)).params
        if given.get("recipe"):
            find_recipe(given["recipe"], *given["overrides"] or ())
        if given.get("study"):
            assert given["study"] in studies.STUDIES.names()
        if given.get("suite"):
            assert given["suite"] in part_names("suite")
    for name in re.findall(r"`sensorium ([a-z]+)", page.read_text()):
        assert name in group.commands, f"{page.name}: `sensorium {name}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        aim = (page.parent / file).resolve() if file else page
        assert aim.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", aim.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    for path in re.findall(r"`((?:sensorium|docs|tests|benchmarks|\.ci)/[\w/.-]+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_knows_what_is_to_be_made(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([\w-]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= set(targets)


def test_the_recipes_are_listed() -> None:
    sections = [(ROOT / page).read_text().partition("## Recipes")[2] for page in ("README.md", "docs/families.md")]
    listed = re.findall(r"^\| `([\w.-]+)` \|", "".join(part.partition("\n## ")[0] for part in sections), re.MULTILINE)
    ours = [name for name in recipe_names() if recipes.RECIPES[name].__module__.startswith("sensorium.recipes.")]
    assert sorted(listed) == ours


def test_architecture_lists_the_checks_and_the_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", page.partition("## Invariants")[2], re.MULTILINE) == check_names()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    drawn = re.findall(r"^[a-z_ |]+$", page.partition("## Imports")[2].split("```")[1], re.MULTILINE)
    layers = [re.findall(r"sensorium\.(\w+)", layer) for layer in contracts[0]["layers"]]
    assert [re.findall(r"\w+", line) for line in drawn if line.strip()] == layers
