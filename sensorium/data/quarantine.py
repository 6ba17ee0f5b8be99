"""Samples that cannot be used: written down with their reason and counted, never lost and never the end of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import DataError


@dataclass(frozen=True)
class Refusal:
    """A sample of `source` that was refused. `where` finds it: its index or its id."""

    source: str
    where: dict[str, int | str]
    reason: str


class Quarantine:
    """Refusals go to a file of JSON lines and are counted over the whole run; past `limit` the run stops.

    Each line says at which `pack` of which `stage` and `row` it was met, so that a resumed run forgets exactly what it
    will meet again.
    """

    def __init__(self, file: Path | None, limit: int) -> None:
        self.file, self.limit = file, limit
        self.count = len(self._lines())

    def _lines(self) -> list[dict[str, Any]]:
        if self.file is None or not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Forget the lines that are not wanted."""
        lines = [line for line in self._lines() if wanted(line)]
        self.count = len(lines)
        if self.file is not None:
            self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def add(self, refusals: Iterable[Refusal], **when: int) -> None:
        """Note refusals, met `when` (stage, row and pack)."""
        for one in refusals:
            self.count += 1
            if self.file is not None:
                with self.file.open("a") as lines:
                    lines.write(json.dumps({"source": one.source, **one.where, "reason": one.reason, **when}) + "\n")
            if self.count > self.limit:
                raise too_many(self.count, self.limit, one.reason)


def kind_of(reason: str) -> str:
    """A reason without what differs between samples: names at its head, numbers, quotations."""
    words = reason.partition(": ")[2] or reason
    return " ".join("…" if any(c.isdigit() or c in "/'\"" for c in word) else word for word in words.split())[:100]


def too_many(count: int, limit: int, last: str) -> DataError:
    return DataError(f"{count} bad samples, more than the limit of {limit}; the last: {last}")
