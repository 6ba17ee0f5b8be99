"""Files of text as tables: each record is a run of bytes, found once and read by its offset."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from sensorium.data.files import Stored
from sensorium.data.index import Arrays, compact, indexed
from sensorium.data.record_table import Record, Table
from sensorium.data.records import read_record
from sensorium.errors import DataError

BOM = b"\xef\xbb\xbf"
"""The mark of byte order that some editors write before UTF-8."""
CHUNK = 1 << 20
"""Bytes of a JSON list that are read at a time."""
LARGEST = 1 << 28
"""Bytes in which an entry of a JSON list must end."""


class Spans(Table):
    """A file of text in which each record is a run of bytes, found by its offset: memory does not grow with records'
    length."""

    def __init__(
        self,
        file: Stored,
        stem: str,
        unit: str,
        find: Callable[[Stored], Arrays],
        parse: Callable[[bytes, str], dict[str, Any]],
    ) -> None:
        self.file, self.stem, self.unit, self.parse = file, stem, unit, parse
        self.arrays = indexed([file], f"spans {unit}", lambda: find(file))

    def __len__(self) -> int:
        return len(self.arrays["offsets"])

    def place(self, index: int) -> str:
        return f"{self.stem}-{self.unit}-{int(self.arrays['numbers'][index])}"

    def read(self, index: int, columns: tuple[str, ...] | None = None) -> Record:
        offset, length, number = (int(self.arrays[key][index]) for key in ("offsets", "lengths", "numbers"))
        name = f"{self.file}, {self.unit} {number}"
        raw = Stored(self.file.file, f"{self.unit} {number}", offset, length).read()
        return Record(self.parse(raw, name), name, self.place(index))


def open_text(file: Stored, stem: str) -> Spans:
    """A file of JSON lines, a JSON list, or CSV; `stem` is what its records are called after."""
    if file.title.endswith((".csv", ".tsv")):
        comma = "\t" if file.title.endswith(".tsv") else ","
        head = _cells(next(_lines(file), (0, b""))[1], comma, str(file))
        return Spans(file, stem, "row", lambda f: find_rows(f, comma), lambda raw, name: _row(raw, comma, head, name))
    if file.title.endswith((".gz", ".zst", ".bz2", ".xz", ".zip")):
        raise DataError(f"{file}: is compressed, so no record can be read without all before it; unpack it")
    if file.title.endswith(".json") and file.read(1024).removeprefix(BOM).lstrip().startswith(b"["):
        return Spans(file, stem, "entry", find_entries, read_record)
    return Spans(file, stem, "line", find_lines, read_record)


def _lines(file: Stored) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its end) of every line; a mark of byte order is left out."""
    offset = 0
    try:
        with file.stream() as stream:
            for line in stream:
                skipped = len(BOM) if not offset and line.startswith(BOM) else 0
                yield offset + skipped, line[skipped:]
                offset += len(line)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}); restore the file") from None


def find_lines(file: Stored) -> Arrays:
    """Where the lines lie that are not blank, numbered from 1."""
    found = ((o, len(line), n) for n, (o, line) in enumerate(_lines(file), 1) if line.strip())
    return _spans(found)


def find_rows(file: Stored, comma: str) -> Arrays:
    """Where the rows of a CSV file lie, after the first, which names the columns; quoted cells may hold line ends."""

    def rows() -> Iterator[tuple[int, int, int]]:
        starts: list[tuple[int, int]] = []

        def text() -> Iterator[str]:
            for offset, line in _lines(file):
                starts.append((offset, len(line)))
                yield line.decode("latin-1")  # a byte a character: cells are told apart by ASCII alone

        try:
            for number, cells in enumerate(csv.reader(text(), delimiter=comma)):
                if number and any(cells):
                    yield starts[0][0], sum(length for _, length in starts), number
                starts.clear()
        except csv.Error as error:
            raise DataError(f"{file}: not CSV ({error}); correct it") from None

    return _spans(rows())


def find_entries(file: Stored) -> Arrays:
    """Where the entries of a JSON list lie, numbered from 1, without having more than a few in memory."""
    try:
        with file.stream() as stream:
            return _spans(_entries(stream, file))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}); restore the file") from None


def _entries(stream: BinaryIO, file: Stored) -> Iterator[tuple[int, int, int]]:
    text = stream.read(CHUNK).decode("latin-1")  # a byte a character: entries are told apart by ASCII alone
    decoder, place, gone, number = json.JSONDecoder(), text.index("[") + 1, 0, 0
    while True:
        try:
            start = _skip(text, place)
            if text[start : start + 1] == "]":
                return
            end = decoder.raw_decode(text, start)[1]
            after = _skip(text, end)
            if text[after : after + 1] not in (",", "]"):
                raise ValueError(f"found {text[after : after + 1] or 'its end'!r} between entries")
        except (ValueError, RecursionError) as error:
            text, gone, place = text[place:], gone + place, 0
            added = stream.read(max(CHUNK, len(text))).decode("latin-1") if len(text) < LARGEST else ""
            if not added:  # and not because an entry is cut where the text ends
                raise DataError(f"{file}: not a JSON list, from byte {gone} on ({error}); correct it") from None
            text += added
            continue
        number += 1
        yield gone + start, end - start, number
        place = after + (text[after] == ",")


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\n", "\r", "\t"):
        place += 1
    return place


def _spans(found: Iterator[tuple[int, int, int]]) -> Arrays:
    table = np.fromiter(found, np.dtype((np.int64, 3)))
    return {key: compact(table[:, i]) for i, key in enumerate(("offsets", "lengths", "numbers"))}


def _cells(raw: bytes, comma: str, name: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), delimiter=comma), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: not CSV in UTF-8 ({error}); found {raw[:60]!r}; save it as UTF-8") from None


def _row(raw: bytes, comma: str, head: list[str], name: str) -> dict[str, Any]:
    cells = _cells(raw, comma, name)
    if len(cells) != len(head):
        raise DataError(f"{name}: {len(cells)} cells and {len(head)} names of columns; correct the row")
    return dict(zip(head, cells, strict=True))
