"""Studies on the command line: the list, a run with its verdicts, and the same as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sensorium.evaluation.suite import Metric
from sensorium.pages import charts
from sensorium.pages.html import Child, page, section, table, tag, write_page
from sensorium.studies.study import STUDIES
from sensorium.studies.study_run import Finding, Outcome, reproduce

PAGE = "study.html"
COLOURS = {"reproduced": "green", "not reproduced": "yellow", "contradicted": "red"}
CLASSES = {"reproduced": "right", "contradicted": "wrong"}


def print_studies() -> None:
    """The studies there are, by name, with what they compare."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("study", "arms", "seeds", "summary"):
        shown.add_column(title, no_wrap=title == "study")
    for name in STUDIES.names():
        study = STUDIES[name]()
        shown.add_row(Text(name, "bold"), Text(", ".join(study.arms)), str(study.seeds), Text(study.summary))
    Console().print(shown)


def run_study(
    name: str, changes: Sequence[str], seeds: int | None, out: Path | None, file: Path | None, quiet: bool
) -> None:
    """Run a study into `out` and print what it found; as JSON, too, into `file` (`-` is stdout, then without the
    table)."""
    study = STUDIES[name]()
    out = out or Path("runs/studies") / name
    told = Console(stderr=True, quiet=quiet)
    outcome = reproduce(study, out, seeds, changes, quiet=quiet, say=lambda line: told.print(line, style="dim"))
    written = write_study(outcome, out / PAGE)
    text = json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False)
    if file == Path("-"):
        print(text)
        return
    console = Console()
    console.print(arms_table(outcome))
    console.print()
    for found in outcome.findings:
        console.print(finding_line(found))
    if file is not None:
        file.write_text(text + "\n")
    console.print(f"\n{written}", highlight=False)


def figures(metric: Metric, sign: str = "") -> str:
    """A mean and its interval, in the metric's own unit."""
    low, high = metric.ci95
    return f"{metric.value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def arms_table(outcome: Outcome) -> Table:
    """Each arm's mean over the seeds, and the single values."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("arm")
    for title in (outcome.study.metric, "each seed"):
        shown.add_column(title, no_wrap=True)
    for arm, metric in outcome.arms.items():
        values = "  ".join(f"{value:.3f}" for value in outcome.values[arm])
        shown.add_row(Text(arm, "bold"), Text(figures(metric)), Text(values, "dim"))
    return shown


def finding_line(found: Finding) -> Text:
    """A verdict and what it rests on."""
    claim = found.claim
    verdict = (f"{found.verdict:<15}", f"bold {COLOURS[found.verdict]}")
    sides = f"{claim.winner} over {claim.loser}: {figures(found.lead, '+')}"
    return Text.assemble(verdict, sides, (f"  {claim.text} ({claim.source})", "dim"))


def write_study(outcome: Outcome, file: Path) -> Path:
    """Write the page: claims with their verdicts, leads with their intervals, and the arms."""
    study, n = outcome.study, len(next(iter(outcome.values.values())))
    facts = {"arms": str(len(study.arms)), "seeds": str(n), "metric": f"{study.metric}, {study.better} is better"}
    if outcome.changes:
        facts["changed"] = " ".join(outcome.changes)
    items = [tag("li", tag("span", what), " ", tag("b", value)) for what, value in facts.items()]
    head = tag(
        "header",
        tag("div", "Sensorium study", class_="brand"),
        tag("h1", study.name),
        tag("p", study.summary, class_="lead"),
        tag("ul", *items, class_="facts"),
    )
    note = (
        "The lead is the mean difference of runs with the same seed, with its 95 % interval by Student's t. Reproduced "
    )
    note += "is a lead whose whole interval is above what was claimed, contradicted one whose interval is below 0."
    leads = {f"{f.claim.winner} − {f.claim.loser}": f.lead for f in outcome.findings}
    values = [[arm, figures(metric), ", ".join(f"{v:.4f}" for v in outcome.values[arm]), f"{outcome.tokens[arm]:,}"]
              for arm, metric in outcome.arms.items()]  # fmt: skip
    body = (
        section("Claims", table(("claim", "source", "lead", "verdict"), map(_row, outcome.findings)), note=note),
        section("Leads", charts.intervals(f"Lead in {study.metric}", leads, zero=True)),
        section(
            "Arms",
            charts.intervals(study.metric, outcome.arms, outcome.values),
            table(("arm", "mean and 95 % interval", "each seed", "tokens trained on"), values),
        ),
    )
    return write_page(file, page(f"{study.name} – Sensorium study", head, *body))


def _row(found: Finding) -> list[Child]:
    claim = found.claim
    least = f", by more than {claim.least:g}" if claim.least else ""
    sides = tag("span", f"{claim.winner} over {claim.loser}{least}", class_="aside")
    verdict = tag("b", found.verdict, class_=CLASSES.get(found.verdict))
    return [(claim.text, sides), claim.source, figures(found.lead, "+"), verdict]
