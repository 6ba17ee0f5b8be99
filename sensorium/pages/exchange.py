"""What was loaded of a published checkpoint, and what was written as one, for people and for programs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sensorium.families.exporting import export
from sensorium.families.importing import import_folder


def run_import(folder: Path, out: Path, changes: tuple[str, ...], tokenizer: str, as_json: bool, quiet: bool) -> None:
    """Import a folder and print the account of its keys."""
    account = import_folder(folder, out, tokenizer, changes)
    if as_json:
        print(json.dumps(account.to_dict(), indent=2))
        return
    if quiet:
        return
    console, table = Console(), _table("tensors", "there", "here, or why not")
    for (theirs, ours), count in _grouped(account.loaded).items():
        table.add_row(str(count), Text(theirs), Text(ours))
    for (theirs, why), count in _grouped(account.left).items():
        table.add_row(str(count), Text(theirs), Text(f"not loaded: {why}", "yellow"))
    for (ours, why), count in _grouped(account.new).items():
        table.add_row(str(count), "-", Text(f"{ours}: {why}", "yellow"))
    console.print(table)
    counts = ", ".join(f"{part} {count:,}" for part, count in account.parameters.items() if count)
    console.print(f"{account.family}: {len(account.loaded)} of {len(account.loaded) + len(account.left)} tensors")
    console.print(f"parameters: {counts}", highlight=False)
    console.print(f"The model is in {out}", highlight=False)


def run_export(checkpoint: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Export a checkpoint and print what it became."""
    written = export(checkpoint, out)
    if as_json:
        print(json.dumps(asdict(written), indent=2))
        return
    if quiet:
        return
    console, table = Console(), _table("tensors", "there", "here")
    for (theirs, ours), count in _grouped(written.tensors).items():
        table.add_row(str(count), Text(theirs), Text(ours))
    console.print(table)
    if written.added:
        console.print(f"rows of zeros were added for {', '.join(written.added)}; generation never writes them")
    console.print(f"{out} is a {written.stock}: transformers.AutoTokenizer and its class load it", highlight=False)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, justify="right" if title == "tensors" else "left", overflow="fold")
    return table


def _grouped(pairs: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """How many keys there are of each kind, with `*` for numbers of layers."""
    return Counter((_kind(a), _kind(b)) for a, b in pairs.items())


def _kind(key: str) -> str:
    return re.sub(r"\.\d+(?=\.)", ".*", key)
