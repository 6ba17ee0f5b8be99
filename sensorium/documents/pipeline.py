"""A folder of web pages and PDFs to a folder of documents: read, filtered, written, every file accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from sensorium.atomic import write_file
from sensorium.data.quarantine import Quarantine, Refusal
from sensorium.documents.document import joined, name_of
from sensorium.documents.filter import DocumentFilter, Outcome, apply
from sensorium.documents.ledger import Entry, Example, Report, examples_of
from sensorium.documents.output import DocumentFolder
from sensorium.documents.read import Limits, find_files, read_document
from sensorium.errors import ConfigError, DataError
from sensorium.sample import Sample

SETTINGS, QUARANTINE, REPORT = "documents.yaml", "quarantine.jsonl", "report.json"
EXAMPLES = 3
"""Examples of each filter and kind that a shard keeps."""
DEFAULT = (
    "language", "picture-address", "picture-size", "paragraph-quality", "repeated-paragraphs", "document-quality",
    "repeated-pictures", "picture-count",
)  # fmt: skip


def default_filters() -> tuple[DocumentFilter.Config, ...]:
    """The filters of OBELICS and MINT-1T that need no model: cheap ones first, and last those that count what is
    left."""
    return tuple(DocumentFilter.Config.model_validate(name) for name in DEFAULT)


class Settings(Limits):
    """How documents are made."""

    filters: tuple[DocumentFilter.Config, ...] = Field(default_factory=default_filters, description="in order")
    shard_size: int = Field(default=1_000, ge=1, description="files in a shard; so many are read again after a stop")
    max_refused: int = Field(default=10_000, ge=0, description="a run with more files that cannot be read stops")


def make_documents(
    folder: Path, out: Path, settings: Settings, told: Callable[[Report], None] = lambda report: None
) -> Report:
    """Make documents of all web pages and PDFs below `folder`, into `out`; `told` is called after each file.

    Files that are in the output's ledgers already are not read again, so a run that was stopped goes on, and files
    that were added are added. A `DataError` if there is no such folder or too many files are refused; a `ConfigError`
    if the output was made with other settings.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give one with web pages and PDFs")
    _claim(folder, out, settings)
    store, report = DocumentFolder(out), Report()
    for entry in store.entries():
        report.add(entry)
    done = {entry.id for entry in store.entries()}
    filters = [config.build() for config in settings.filters]
    for document in store.documents():
        remember(filters, document)
    run = _Run(folder, store, settings, filters)
    report.given = len(done) + sum(relative not in done for relative in find_files(folder))
    left = (relative for relative in find_files(folder) if relative not in done)
    while shard := list(islice(left, settings.shard_size)):
        for entry in run.shard(shard):
            report.add(entry)
            told(report)
    write_file(out / REPORT, json.dumps(report.to_json(), indent=2) + "\n")
    return report


def remember(filters: Sequence[DocumentFilter], document: Sample) -> None:
    """Tell filters of a document that is in the output."""
    for one in filters:
        one.remember(document)


def _claim(folder: Path, out: Path, settings: Settings) -> None:
    """Write the settings to the output, or see that they are those it was made with."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{out} is in {folder}, whose pages are read; give an output folder outside of it")
    file = out / SETTINGS
    if not file.exists():
        write_file(file, settings.to_yaml())
    elif yaml.safe_load(file.read_text(encoding="utf-8")) != yaml.safe_load(settings.to_yaml()):
        raise ConfigError(f"{file}: made with other settings; give the same ones, or another output folder")


class _Run:
    def __init__(
        self, folder: Path, store: DocumentFolder, settings: Settings, filters: Sequence[DocumentFilter]
    ) -> None:
        self.folder, self.store, self.settings, self.filters = folder, store, settings, filters
        self.quarantine = Quarantine(store.place / QUARANTINE, settings.max_refused)
        complete = store.shards()
        self.quarantine.keep(lambda line: line["shard"] < complete)

    def shard(self, files: Sequence[str]) -> Iterator[Entry]:
        """Read, filter and write some files."""
        number, records, entries = self.store.shards(), [], []
        shown = Counter[tuple[str, str]]()
        for relative in files:
            try:
                entry = self._document(relative, records, shown)
            except DataError as error:
                entry = Entry(relative, "refused", str(error))
                refusal = Refusal(self.folder.name, {"id": relative}, str(error))
                self.quarantine.add([refusal], shard=number)
            entries.append(entry)
            yield entry
        self.store.commit(records, entries)

    def _document(self, relative: str, records: list[dict[str, Any]], shown: Counter[tuple[str, str]]) -> Entry:
        outcome = apply(self.filters, read_document(self.folder, relative, self.settings))
        if not outcome.dropped_by:
            records.append(self.store.record(outcome.document))
            remember(self.filters, joined(outcome.document))
        return Entry.of(outcome, self._examples(outcome, shown))

    def _examples(self, outcome: Outcome, shown: Counter[tuple[str, str]]) -> Iterator[Example]:
        for example, image in examples_of(outcome):
            shown[example.filter, example.what] += 1
            if shown[example.filter, example.what] <= EXAMPLES:
                held = self.store.thumbnail(image, name_of(outcome.document, image)) if image else ""
                yield replace(example, picture=held)
