"""The report of a run: how good, compared with what, which model, how it learned, and what it says about pictures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sensorium.evaluation.results import BLIND, merge
from sensorium.evaluation.suite import Metric, Report
from sensorium.model import PARTS
from sensorium.pages import charts, formats
from sensorium.pages.gallery import gallery_section
from sensorium.pages.html import Html, page, section, table, tag, write_page
from sensorium.pages.results import CHANCE, guessing, own, tally, verdict
from sensorium.pages.run import Run, read_log, read_run

Metrics = Mapping[str, Metric]


def write_report(
    run_dir: str | Path,
    reports: Sequence[Report],
    file: str | Path,
    *,
    blind: Sequence[Report] = (),
    pictures: int = 12,
) -> Path:
    """Write the page of a trained run.

    `reports` are what its suites found and `blind` what they found of its text-only twin; `pictures` is how many the
    gallery shows.
    """
    run = read_run(run_dir)
    metrics = merge(reports, blind)
    kinds = {case.kind for report in reports for case in report.cases}
    body = (
        _head(run),
        _headline(metrics),
        _details(metrics, kinds),
        _composition(run),
        _learning(run),
        gallery_section(reports, blind, pictures),
        _talk(run, next((case.question for report in reports for case in report.cases), "What is in the picture?")),
        _manifest(run, reports),
    )
    return write_page(file, page(f"{run.recipe.name} – Sensorium report", *body))


def _head(run: Run) -> Html:
    tokens = sum(step["tokens_per_second"] * step["seconds"] for step in run.steps)
    facts = {
        "parameters": formats.amount(sum(run.parameters.values())),
        "steps": f"{len(run.steps):,}",
        "tokens read": formats.amount(tokens),
        "of training": formats.duration(run.seconds),
    }
    items = [tag("li", tag("b", number), " ", tag("span", what)) for what, number in facts.items()]
    return tag(
        "header",
        tag("div", "Sensorium report", class_="brand"),
        tag("h1", run.recipe.name),
        tag("p", run.recipe.summary, class_="lead") if run.recipe.summary else None,
        tag("ul", *items, class_="facts"),
    )


def _marks(name: str, metrics: Metrics) -> dict[str, float | None]:
    chance = guessing(name, metrics)
    twin = metrics.get(BLIND + name)
    return {"twin": twin and twin.value, "chance": chance and chance.value}


def _goal(name: str, metric: Metric) -> Html | None:
    """A metric's goal and whether it was reached, to stand under its name."""
    if not (found := verdict(name, metric)):
        return None
    most = "at most " if name.startswith(BLIND) else ""
    return tag("span", f"goal {most}{formats.goal(metric)}: {found}", class_=f"aside{' wrong' * (found == 'missed')}")


def _headline(metrics: Metrics) -> Html:
    mine = own(metrics)
    if not mine:
        return Html()
    name, metric = next(iter(mine.items()))
    compared = [
        charts.meter_row((label, _goal(key, metrics[key])), metrics[key], chance=_marks(key, metrics)["chance"])
        for key, label in ((name, tag("b", "this model")), (BLIND + name, "text-only twin"), (CHANCE, "guessing"))
        if key in metrics
    ]
    over = tag("div", f"{name} over {metric.n:,} cases", class_="note")
    missed, goals = tally(metrics)
    reached = tag("div", f"{missed} of {goals} goals missed", class_="wrong" if missed else "right") if goals else None
    big = tag("div", tag("div", formats.value(metric), class_="big"), over, reached)
    return tag("section", tag("div", big, tag("div", *compared), class_="card headline"))


def _details(metrics: Metrics, kinds: set[str]) -> Html:
    """Every further metric, sorted into kinds of question, other conditions (splits, ways to score), and the rest."""
    groups: dict[str, list[Html]] = {"By kind of question": [], "Under other conditions": [], "Also measured": []}
    seen = {"twin": False, "chance": False, "goal": False}
    for name, metric in list(own(metrics).items())[1:]:
        marks = _marks(name, metrics)
        present = {**marks, "goal": metric.goal}
        seen = {key: seen[key] or present[key] is not None for key in seen}
        family, _, leaf = name.partition("/")
        title = (
            "By kind of question"
            if leaf in kinds
            else "Under other conditions"
            if leaf and family == "accuracy"
            else ""
        )
        label = leaf if title else name
        groups[title or "Also measured"].append(charts.meter_row((label, _goal(name, metric)), metric, **marks))
    shown = [tag("div", tag("h3", title), *rows) for title, rows in groups.items() if rows]
    if not shown:
        return Html()
    note = "The text-only twin is the same recipe trained and examined without pictures: what can be had by knowing "
    note += "how such questions are usually answered."
    return section("In detail", *shown, charts.legend(**seen), note=note if seen["twin"] else "")


def _composition(run: Run) -> Html:
    boxes: list[Html] = []
    parts = [name for name in PARTS if getattr(run.recipe.model, name).type_name != "none" or name == "encoder"]
    for name in parts:
        config = getattr(run.recipe.model, name)
        count = run.parameters[name]
        size = (
            f"{formats.amount(count)} parameters"
            if count
            else "shares the backbone's weights"
            if name == "head"
            else "no parameters"
        )
        box = (
            tag("div", name, class_="role"),
            tag("div", config.type_name, class_="what"),
            tag("div", size, class_="small"),
        )
        boxes += [tag("div", "→", class_="arrow"), tag("div", *box, class_="card")]
    rows = [
        [stage.name, *(_state(part in stage.trainable) for part in parts), f"{stage.steps:,}", f"{stage.lr:g}"]
        for stage in run.recipe.stages
    ]
    model = run.recipe.model
    note = f"A picture's tile is worth {model.tile.tokens} tokens; the context is {model.context}."
    trained = table(["stage", *parts, "steps", "peak learning rate"], rows)
    config = tag("details", tag("summary", "The whole recipe"), tag("pre", run.recipe.to_yaml()))
    return section(
        "The model", tag("div", *boxes[1:], class_="pipeline"), tag("h3", "Stages"), trained, config, note=note
    )


def _state(trained: bool) -> Html:
    return tag("span", "● trained") if trained else tag("span", "○ frozen", class_="note")


def _learning(run: Run) -> Html:
    if not run.steps:
        return Html()
    breaks = run.stage_starts() if len(run.recipe.stages) > 1 else {}
    losses = {"this model": run.curve("loss")}
    if twin := read_log(run.folder / "blind" / "log.jsonl"):
        losses["text-only twin"] = [(step["step"], step["loss"]) for step in twin]
    shown = (
        charts.curves("Loss (nats per supervised token)", losses, breaks=breaks, log=True),
        charts.curves("Learning rate", {"": run.curve("lr")}, breaks=breaks),
        charts.curves("Tokens per second", {"": run.curve("tokens_per_second")}, breaks=breaks),
    )
    packed = sum(step["packing_efficiency"] for step in run.steps) / len(run.steps)
    bad = run.steps[-1]["bad_samples"]
    note = f"{100 * packed:.1f} % of the tokens in a step are real, the rest is padding. "
    note += f"{bad} samples were unreadable; see quarantine.jsonl." if bad else "No sample was unreadable."
    return section("How it learned", tag("div", *shown, class_="charts"), note=note)


def _talk(run: Run, question: str) -> Html:
    folder = shlex.quote(str(run.folder))
    shell = f"sensorium chat {folder} --image picture.png --ask {shlex.quote(question)}"
    python = f'import sensorium as sm\n\nmodel = sm.load("{run.folder}")\n'
    if not run.recipe.model.head.part.writes:
        python += 'pictures, texts = [[sm.Image("picture.png")]], [["a red circle"], ["a blue square"]]\n'
        python += "model.embed(pictures) @ model.embed(texts).T"
        note = "How alike a picture and texts are, by their embeddings, from Python."
        return section("Compare", tag("pre", python), note=note)
    python += f'model.generate([sm.Image("picture.png"), sm.Text({json.dumps(question)})])'
    note = "From a shell (without --ask it becomes a conversation), or from Python."
    return section("Talk to it", tag("pre", shell), tag("br"), tag("pre", python), note=note)


def _manifest(run: Run, reports: Sequence[Report]) -> Html:
    packages = run.manifest.get("packages", {})
    rows = [
        ["made", datetime.fromtimestamp((run.model / "manifest.json").stat().st_mtime).strftime("%d %B %Y, %H:%M")],
        ["revision", run.manifest.get("revision") or "unknown"],
        ["seed", run.recipe.seed],
        ["suites", ", ".join(report.suite for report in reports) or "none"],
        ["Python", run.manifest.get("python", "unknown")],
        ["packages", ", ".join(f"{name} {version}" for name, version in packages.items())],
        ["weights", tag("span", str(run.model), class_="mono")],
    ]
    return section("Made with", table(("", ""), rows))
