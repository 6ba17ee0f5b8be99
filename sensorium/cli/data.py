"""`sensorium data`: get, make, look at, score and select data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.arguments import Overrides, RecipeName
from sensorium.pages.command import examples

data = typer.Typer(no_args_is_help=True, help="Get, make, look at, score and select data.")

STAGE = typer.Option(metavar="STAGE", help="The name or the number of a stage.")


@data.command("show", epilog=examples("sensorium data show demo 0:1234 0:77 --stage instruct --out row.html"))
def show_rows(
    recipe: RecipeName,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="SOURCE:INDEX, as errors and batches name them.")],
    stage: Annotated[str, STAGE] = "0",
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("row.html"),
) -> None:
    """Write a page with the samples of some keys.

    Every row of a run can be read again from its keys: this shows it as the model saw it, token by token.
    """
    from sensorium.pages.keys import write_rows
    from sensorium.recipe import find_recipe

    print(write_rows(find_recipe(recipe), stage, keys, out))


SAMPLES = typer.Option(min=1, help="Samples of each source to read, spread over it.")


@data.command(epilog=examples("sensorium data stats demo --stage instruct", "sensorium data stats mine.yaml --json -"))
def stats(
    recipe: RecipeName,
    overrides: Overrides = None,
    stage: Annotated[str, STAGE] = "0",
    samples: Annotated[int, SAMPLES] = 1000,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="As JSON; - is stdout.")] = None,
) -> None:
    """Print figures of a stage's data: lengths, pictures, repetitions, refusals."""
    from rich.console import Console

    from sensorium.pages.stats import as_json, figures, show_figures
    from sensorium.recipe import find_recipe

    found = figures(find_recipe(recipe, *overrides or ()), stage, samples)
    if file is None:
        show_figures(found, Console())
    elif str(file) == "-":
        print(as_json(found))
    else:
        file.write_text(as_json(found) + "\n")


@data.command(epilog=examples("sensorium data diff old.yaml new.yaml", "sensorium data diff stats.json mine.yaml"))
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A recipe, or what `data stats --json` wrote.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    stage: Annotated[str, STAGE] = "0",
    samples: Annotated[int, SAMPLES] = 1000,
) -> None:
    """Print what differs between two stages' data: figures, and samples that both have."""
    from rich.console import Console

    from sensorium.pages.stats import load_figures, show_difference

    show_difference(load_figures(before, stage, samples), load_figures(after, stage, samples), Console())


@data.command(
    epilog=examples(
        "sensorium data skills mine.yaml --stage instruct --start runs/aligned --steps 100 --out graph.json"
    )
)
def skills(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The graph and the losses behind it, as JSON.")],
    stage: Annotated[str, STAGE] = "0",
    steps: Annotated[int, typer.Option(min=1, help="Steps on each source alone.")] = 100,
    start: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help="The model that each begins with.")] = None,
) -> None:
    """Learn which source teaches what: the graph of the policy skill-it.

    The stage is trained on each of its sources alone for some steps, and the losses of the policy's targets are
    compared with those before.
    """
    from sensorium.pages.keys import stage_number
    from sensorium.recipe import find_recipe
    from sensorium.training.skills import learn_graph

    found = find_recipe(recipe, *overrides or ())
    number = stage_number(found, stage)
    learned = learn_graph(found, number, steps, start)
    out.write_text(json.dumps(learned) + "\n")
    print(f"stages.{number}.policy.graph={json.dumps(learned['graph'])}")


@data.command("fetch-stamps")
def fetch_stamps() -> None:
    """Say how to get the stamps, and where to put them."""
    from sensorium.data.fetch import fetch_stamps_help

    print(fetch_stamps_help())


@data.command(
    "score",
    epilog=examples(
        "sensorium data score demo --with text-quality --out scores",
        "sensorium data score pool.yaml --with likelihood checkpoint=runs/demo --out scores",
        "sensorium data score pool.yaml --with recaption checkpoint=runs/demo style=dense --out scores",
    ),
)
def score(
    ctx: typer.Context,
    sources: Annotated[str, typer.Argument(metavar="SOURCES", help="A .yaml file with `sources`, or a recipe.")],
    overrides: Overrides = None,
    *,
    with_: Annotated[str, typer.Option("--with", metavar="SCORER", help="The scorer; KEY=VALUE sets its keys.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Columns there are kept and gone on with.")],
    stage: Annotated[int, typer.Option(min=0, metavar="N", help="The stage of the recipe.")] = 0,
    ray: Annotated[int, typer.Option(min=0, metavar="N", help="Workers of Ray Data; 0 scores here.")] = 0,
    max_bad: Annotated[int | None, typer.Option(min=0, metavar="N", help="Bad samples that end it.")] = None,
) -> None:
    """Write a scorer's columns, numbers or texts that a model writes, beside the data.

    What has been scored is not scored again; a scoring that was interrupted goes on.
    """
    from sensorium.pages.curate import score_pool

    score_pool(sources, stage, with_, overrides or (), out, ray, max_bad, ctx.obj.quiet)


@data.command(
    "select",
    epilog=examples(
        "sensorium data select scores --with top column=dfn.similarity --share 0.15 --out best",
        "sensorium data select scores --with unique-pictures --out distinct",
        "sensorium data select scores --with threshold column=consistency.agreement least=0.8 "
        "--text consistency.answer --out own",
    ),
)
def select(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A folder that `data score` wrote.")],
    overrides: Overrides = None,
    *,
    with_: Annotated[str, typer.Option("--with", metavar="SELECTOR", help="The selector; KEY=VALUE sets its keys.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the selection goes.")],
    share: Annotated[float | None, typer.Option(min=0, max=1, help="How much of the samples to keep.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many samples to keep.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Text to keep; a single one replaces what samples say."),
    ] = None,
) -> None:
    """Select samples by their scores, for recipes to train on.

    FOLDER/data.yaml is the data of a stage; FOLDER/sources.yaml can be scored again.
    """
    from sensorium.pages.curate import select_from

    select_from(scores, with_, overrides or (), out, share, count, text or ())


@data.command("report", epilog=examples("sensorium data report scores --out scores.html"))
def report(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A folder that `data score` wrote.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("scores.html"),
) -> None:
    """Write a page of scores: how they are distributed, the best, middle and worst samples, and what was written."""
    from sensorium.pages.curate import write_scores

    print(write_scores(scores, out))


@data.command(
    epilog=examples(
        "sensorium data documents site documents",
        "sensorium data documents site documents filters.0.languages=[de,en] filters.2.min_side=100",
        "sensorium data documents site documents filters=[picture-size,picture-count] pdf_pages=200",
        "sensorium --parts judge.py data documents site documents --config documents.yaml",
    )
)
def documents(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="IN", help="Web pages and PDFs, at any depth.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where documents go; a folder begun goes on.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes of the settings.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings in YAML, such as the documents.yaml of another OUT.")
    ] = None,
) -> None:
    """Make interleaved documents, texts and pictures in order, of web pages and PDFs.

    Menus, icons, spam and repetition are filtered out as OBELICS and MINT-1T do.

    OUT gets JSON lines with the pictures beside them, documents.yaml with all
    settings, report.html with what was taken out and why, quarantine.jsonl
    with files that cannot be read. Nothing is fetched. Run it again to go on.
    """
    from sensorium.pages.documents import run_documents

    run_documents(folder, out, changes or (), config, ctx.obj.quiet)
