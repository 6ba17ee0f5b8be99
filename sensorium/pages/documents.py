"""`sensorium data documents`: documents made from a folder, with progress and a page on what was taken out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sensorium.config import load_yaml
from sensorium.data.images import open_picture
from sensorium.documents.ledger import Example, Report
from sensorium.documents.output import DocumentFolder
from sensorium.documents.pipeline import QUARANTINE, Settings, make_documents
from sensorium.errors import DataError
from sensorium.pages.html import Child, Html, image, page, section, table, tag, write_page

PAGE = "report.html"
REFUSALS = 20
"""Refused files that the page lists."""


def run_documents(folder: Path, out: Path, changes: Sequence[str], config: Path | None, quiet: bool) -> Report:
    """Make documents of `folder` in `out`, write its page and print the sums; stopped, it goes on when run again."""
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it cannot read is in the quarantine file
    settings = (load_yaml(config, Settings) if config else Settings()).override(*changes)
    console = Console(quiet=quiet)
    with console.status("reading") as status:
        report = make_documents(folder, out, settings, lambda so_far: status.update(_progress(so_far)))
    write_documents_page(folder, out, report)
    console.print(f"{_progress(report)}\nThe documents are in {out}; what was taken out: {out / PAGE}", soft_wrap=True)
    if report.refused:
        console.print(f"Files that could not be read: {out / QUARANTINE}", soft_wrap=True)
    return report


def _progress(report: Report) -> str:
    kept = f"{report.kept:,} kept, {report.dropped:,} dropped, {report.refused:,} refused"
    return f"{report.read:,} of {report.given:,} files: {kept}"


def write_documents_page(folder: Path, out: Path, report: Report) -> Path:
    """Write `report.html`: counts, by filter too, examples of what each took out, files that could not be read."""
    facts = [("files", report.given), ("kept", report.kept), ("dropped", report.dropped), ("refused", report.refused)]
    facts += [("texts", report.texts), ("words", report.words), ("pictures", report.pictures)]
    filters = [
        (name, f"{taken.documents:,}", f"{taken.texts:,}", f"{taken.pictures:,}")
        for name, taken in report.filters.items()
    ]
    refused = [entry for entry in DocumentFolder(out).entries() if entry.verdict == "refused"]
    body = [
        tag("div", "Sensorium", class_="brand"),
        tag("h1", f"Documents of {folder.name}"),
        tag(
            "ul", *(tag("li", tag("b", f"{value:,}"), " ", tag("span", name)) for name, value in facts), class_="facts"
        ),
        section(
            "By filter",
            table(("filter", "documents", "paragraphs", "pictures"), filters),
            note=f"{report.absent:,} more pictures that kept pages name were not there: remote, missing or damaged.",
        ),
        *(section(name, _examples(report.examples, name, out), note="Taken out.") for name in report.filters),
    ]
    if refused:
        rows = [(entry.id, entry.reason) for entry in refused[:REFUSALS]]
        body.append(section("Refused", table(("file", "why"), rows), note=f"{len(refused):,}, all in {QUARANTINE}."))
    return write_page(out / PAGE, page(f"Documents of {folder.name}", *body))


def _examples(examples: Sequence[Example], name: str, out: Path) -> Html:
    mine = [one for one in examples if one.filter == name]
    rows = [(one.what, one.reason, _shown(one, out), one.document) for one in mine]
    return table(("what", "why", "", "document"), rows)


def _shown(example: Example, out: Path) -> Child:
    if not example.picture:
        return example.shown
    try:
        return image(open_picture(out / example.picture), example.shown)
    except DataError:
        return example.shown
