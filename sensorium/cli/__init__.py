"""The command line. Every command is a few lines over the library, and imports what it needs only when it runs, so
that `--help` answers at once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.arguments import NAME, AsJson, Checkpoint, Overrides, RecipeName
from sensorium.cli.data import data
from sensorium.pages.command import Front, Settings, examples

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # must be set before torch loads

app = typer.Typer(cls=Front, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(data, name="data")


class Format(StrEnum):
    """What `export` writes."""

    hf = "hf"


def _version(wanted: bool) -> None:
    if wanted:
        from sensorium import __version__

        print(__version__)
        raise typer.Exit


@app.callback(epilog=examples("sensorium demo", "sensorium train demo model.connector=linear --out runs/linear"))
def options(
    ctx: typer.Context,
    parts: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", envvar="SENSORIUM_PARTS", help="A Python file with your own parts; repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Large multimodal models composed of parts that one line swaps: build, train, examine, talk.

    The options of this page may stand anywhere in a command.
    """
    ctx.obj = Settings(quiet)
    if parts:
        from sensorium.config import load_parts

        for file in parts:
            load_parts(file)


@app.command(epilog=examples("sensorium demo", "sensorium demo --out runs/second --seed 1"))
def demo(
    ctx: typer.Context,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A run there goes on.")] = Path("runs/demo"),
    seed: Annotated[int | None, typer.Option(help="Another seed, another model.", show_default=False)] = None,
) -> None:
    """Train a small model from nothing, in minutes, and look at it.

    It is examined beside its text-only twin, which was trained without pictures and shows how much is known without
    looking. Numbers, a page and how to talk to it are printed in the end.
    """
    from sensorium.pages.demo import run_demo
    from sensorium.recipe import find_recipe

    changes = (overrides or []) + ([] if seed is None else [f"seed={seed}"])
    run_demo(find_recipe("demo", *changes), out, quiet=ctx.obj.quiet)


@app.command(
    epilog=examples(
        "sensorium train demo --out runs/a",
        "sensorium train demo stages.0.lr=1e-3 model.connector=linear --out runs/b",
        "sensorium train mine.yaml --out runs/c --resume",
    )
)
def train(
    ctx: typer.Context,
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the run goes.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder's run, exactly.")] = False,
    workers: Annotated[int, typer.Option(min=0, metavar="N", help="Processes that read data ahead.")] = 0,
) -> None:
    """Train a recipe into a folder.

    The folder gets checkpoints to go on from, a log, and in the end the model.
    """
    from sensorium.recipe import find_recipe
    from sensorium.training.trainer import train as run

    model = run(find_recipe(recipe, *overrides or ()), out, resume=resume, quiet=ctx.obj.quiet, workers=workers)
    if not ctx.obj.quiet:
        talk = f"; talk to it: sensorium chat {out} --image PICTURE" if model.head.writes else ""
        talk += f"; let it draw: sensorium draw {out} --text TEXT --out FILE.png" if model.painter.paints else ""
        print(f"The model is in {out / 'model'}{talk}")


@app.command(
    "eval",
    epilog=examples(
        "sensorium eval runs/demo --suite factorworld --json eval.json --page report.html",
        "sensorium eval runs/demo --suite factorworld questions=300 --blind-twin runs/demo/blind --json -",
    ),
)
def evaluate(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    overrides: Overrides = None,
    *,
    suite: Annotated[str, typer.Option(metavar="NAME", help="The suite; KEY=VALUE changes its settings.")],
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Metrics as JSON; - is stdout.")] = None,
    blind_twin: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Examine this one without pictures: metrics blind/...")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A run's report as HTML: metrics, curves, pictures, answers.")
    ] = None,
) -> None:
    """Examine a model with a suite.

    Every metric comes with its count and its 95 % interval. What was trained without pictures is examined without.
    """
    from sensorium.pages.examine import evaluate_checkpoint

    evaluate_checkpoint(checkpoint, suite, overrides or (), file, page, blind_twin, ctx.obj.quiet)


@app.command(
    epilog=examples(
        'sensorium chat runs/demo --image picture.png --ask "How many objects are there?"',
        "sensorium chat runs/demo --image picture.png",
        "sensorium chat runs/demo --image picture.png < questions.txt",
    )
)
def chat(
    checkpoint: Checkpoint,
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture to look at; repeatable.")] = None,
    sound: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A sound to hear; repeatable.")] = None,
    ask: Annotated[str | None, typer.Option(metavar="QUESTION", help="Print the reply and leave.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest reply.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 always says the likeliest.")] = 0.0,
) -> None:
    """Talk to a model about pictures, or sounds where it hears.

    One question with --ask, a conversation without it, or a question a line through a pipe.
    """
    from sensorium.pages import talk

    media = [*map(talk.picture, image or ()), *map(talk.sound, sound or ())]
    talk.chat(checkpoint, media, ask, max_tokens, temperature)


@app.command(
    epilog=examples(
        'sensorium draw runs/unclip --text "a large red circle" --text "a small blue cross" --out drawn.png',
        "sensorium draw runs/unclip --like picture.png --count 8 --seed 1 --out variations.png",
        "sensorium draw runs/unclip --like one.png --like other.png --between --count 7 --out between.png",
    )
)
def draw(
    checkpoint: Checkpoint,
    text: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What to draw; repeatable.")] = None,
    like: Annotated[
        list[Path] | None, typer.Option(metavar="PICTURE", help="Draw others like this one; repeatable.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .png file to write.")],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Drawings of each.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed, other drawings.")] = 0,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, help="1: freely; more: closer to what was asked, and less varied.", show_default=False),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps out of the noise.", show_default=False)] = None,
    between: Annotated[bool, typer.Option("--between", help="N drawings from one --like to the next.")] = False,
) -> None:
    """Draw pictures of texts, or others like a picture.

    One PNG, a row for each text and each picture, texts first; a row of --like begins with the picture as the model
    sees it. The model needs a painter: train unclip-mini, or compose one.
    """
    from sensorium.pages.drawing import Order, write_drawing

    order = Order(tuple(text or ()), tuple(like or ()), count, seed, guidance, steps, between)
    print(write_drawing(checkpoint, order, out))


@app.command(
    "import",
    epilog=examples(
        "sensorium import llava-1.5-7b-hf models/llava",
        "sensorium import llava-v1.5-7b models/llava encoder.path=clip-vit-large-patch14-336 --tokenizer vicuna-7b",
        "sensorium import SmolLM2-135M-Instruct models/smol --json",
    ),
)
def import_(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A checkpoint as it was published.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where the model goes.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes of the model's config, such as context=2048.", show_default=False
        ),
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where tokenizer.json is, if not in FOLDER.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Read a published checkpoint into a model of this library.

    The family is told by the folder's config.json; every tensor is accounted for: where it went, or why it was left
    out. A key that is not known, is missing or has another shape ends it. Nothing of the folder is run: weights come
    from safetensors, or from .bin and .pt files that hold tensors and nothing else. OUT can be examined, talked to,
    trained further (`start: OUT` in a recipe of the same parts) and exported again.
    """
    from sensorium.pages.exchange import run_import

    run_import(folder, out, tuple(changes or ()), tokenizer, as_json, ctx.obj.quiet)


@app.command(
    epilog=examples("sensorium export runs/llava exported", "sensorium export models/smol exported --format hf --json")
)
def export(
    ctx: typer.Context,
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    format_: Annotated[Format, typer.Option("--format", help="hf: a stock class of transformers.")] = Format.hf,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs.

    Where a composition equals a stock class of transformers, OUT is a checkpoint of that class with tokenizer,
    processor and generation config. Where it does not, you are told which parts stand in the way.
    """
    from sensorium.pages.exchange import run_export

    run_export(checkpoint, out, as_json, ctx.obj.quiet)


@app.command(epilog=examples("sensorium reproduce", "sensorium reproduce bunny --seeds 3 --out runs/bunny"))
def reproduce(
    ctx: typer.Context,
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="Its name.", show_default=False)] = None,
    overrides: Overrides = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Runs of each arm; by default as the study says.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A study there goes on; by default runs/studies/STUDY.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Results as JSON; - is stdout.")] = None,
) -> None:
    """Test a claim at small scale: train both sides with several seeds, and judge.

    Without a name, the studies are listed. The folder gets a run for each arm and seed, study.json and study.html.
    KEY=VALUE changes every arm's recipe.
    """
    from sensorium.pages.study import print_studies, run_study

    run_study(study, overrides or (), seeds, out, file, ctx.obj.quiet) if study else print_studies()


@app.command(epilog=examples("sensorium recipes", "sensorium recipes --json"))
def recipes(as_json: AsJson = False) -> None:
    """List the recipes."""
    from sensorium.pages.listing import print_recipes

    print_recipes(as_json)


@app.command(
    epilog=examples(
        "sensorium show demo",
        "sensorium show demo model.connector=perceiver > mine.yaml",
        "sensorium show --schema > recipe.schema.json",
    )
)
def show(
    recipe: Annotated[str | None, NAME] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema of every recipe, for editors.")] = False,
) -> None:
    """Print a recipe in full, as YAML that `train` reads."""
    from sensorium.pages.listing import print_recipe, print_schema

    print_schema() if schema else print_recipe(recipe, overrides or (), as_json)


@app.command(epilog=examples("sensorium check demo", "sensorium check mine.yaml --only packing --json"))
def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run this check; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Test a recipe on its own model and data, in seconds.

    No leak between packed samples, labels where they should be, resuming without a trace, and more. The exit code
    is 1 if any check fails.
    """
    from sensorium.pages.listing import print_checks

    if not print_checks(recipe, overrides or (), only or (), as_json):
        raise typer.Exit(1)


@app.command(epilog=examples("sensorium inspect demo --out page.html", "sensorium inspect mine.yaml --packs 5"))
def inspect(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("inspect.html"),
    packs: Annotated[int, typer.Option(min=1, help="Packs of each stage to show token by token.")] = 2,
) -> None:
    """Write a page that shows what the model would see.

    Tiles as the encoder gets them, every token and its label, packing, refused samples; nothing is trained.
    """
    from sensorium.pages.inspect import write_inspection
    from sensorium.recipe import find_recipe

    print(write_inspection(find_recipe(recipe, *overrides or ()), out, packs=packs))


def main() -> None:
    """The entry point."""
    app()
