"""Conversations as data sets write them, to segments: who speaks, what they say, and where pictures stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.data.folder import Folder
from sensorium.data.record_table import Record
from sensorium.data.records import look_up
from sensorium.data.references import KINDS, Kind, Medium, medium, segment
from sensorium.errors import DataError
from sensorium.sample import Role, Segment, Text

ROLES: dict[str, Role] = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"
}  # fmt: skip
"""Who speaks, by the names that data sets use."""


@dataclass(frozen=True)
class Slot:
    """The place of a medium in a turn: its own, or without `source` the next of the record's column."""

    kind: Kind
    source: Medium | None = None


@dataclass(frozen=True)
class Turn:
    role: Role
    pieces: tuple[str | Slot, ...]


def marked(text: str, kinds: Sequence[Kind] = KINDS) -> tuple[str | Slot, ...]:
    """Text with marks such as <image> as pieces. One line end before and after a mark belongs to it."""
    parts = re.split(rf"\n?<({'|'.join(kinds)})>\n?", text)
    pieces: list[str | Slot] = []
    for number, part in enumerate(parts):
        if number % 2:
            kind: Any = part
            pieces.append(Slot(kind))
        elif part:
            pieces.append(part)
    return tuple(pieces)


def read_turns(record: Record, field: str, folder: Folder, kinds: Sequence[Kind] = KINDS) -> list[Turn]:
    """The turns in a field of a record: a list of {role, content} or {from, value}. Content is text with marks, or a
    list of parts {type: text | image | video | audio, ...}. A `DataError` for anything else."""
    value = look_up(record.fields, field)
    if not isinstance(value, list) or not value:
        found = repr(value)[:60]
        raise DataError(f"{record.name}: field '{field}' is {found}; expected a list of turns, each role and content")
    return [_turn(turn, record, f"{field}.{number}", folder, kinds) for number, turn in enumerate(value)]


def _turn(turn: Any, record: Record, field: str, folder: Folder, kinds: Sequence[Kind]) -> Turn:
    if not isinstance(turn, Mapping):
        raise DataError(f"{record.name}: {field} is {turn!r:.60}; expected role and content")
    speaker, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise DataError(f"{record.name}: {field} is said by {speaker!r}; expected one of {', '.join(ROLES)}")
    if isinstance(content, str):
        return Turn(role, marked(content, kinds))
    if isinstance(content, list):
        return Turn(role, tuple(_part(part, record, f"{field}.{n}", folder) for n, part in enumerate(content)))
    raise DataError(f"{record.name}: {field} says {content!r:.60}; expected text or a list of parts")


def _part(part: Any, record: Record, field: str, folder: Folder) -> str | Slot:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    value = part.get(kind) if kind in (*KINDS, "image_url") else None
    if kind == "image_url" and isinstance(value, Mapping):
        kind, value = "image", value.get("url")
    if kind not in KINDS:
        found = repr(part)[:60]
        raise DataError(f"{record.name}: {field} is {found}; expected type text, {', '.join(KINDS)} with its value")
    return Slot(kind, None if value is None else medium(value, folder, field, record.name))


def segments(turns: Sequence[Turn], columns: Mapping[Kind, Sequence[Medium]], name: str) -> tuple[Segment, ...]:
    """The segments of turns whose open slots the columns fill in order; what the assistant says is supervised. A
    `DataError` that begins with `name` unless there are as many slots as media."""
    for kind in KINDS:
        places = sum(Slot(kind) == piece for turn in turns for piece in turn.pieces)
        if places != (given := len(columns.get(kind, ()))):
            raise DataError(
                f"{name}: <{kind}> stands in {places} places, and there are {given} to stand there; correct the record"
            )
    waiting: dict[Kind, Iterator[Medium]] = {kind: iter(sources) for kind, sources in columns.items()}
    return tuple(_placed(turns, waiting, name))


def _placed(turns: Sequence[Turn], waiting: Mapping[Kind, Iterator[Medium]], name: str) -> Iterator[Segment]:
    for turn in turns:
        for piece in turn.pieces:
            if isinstance(piece, Slot):
                source = next(waiting[piece.kind]) if piece.source is None else piece.source
                yield segment(piece.kind, source, turn.role)
            elif piece:
                yield Text(piece, role=turn.role, supervise=turn.role == "assistant")


def opened_by(turns: Sequence[Turn], pictures: int) -> list[Turn]:
    """The turns with the places of `pictures` before all that the first user says, if nobody says where they stand."""
    if any(isinstance(piece, Slot) for turn in turns for piece in turn.pieces):
        return list(turns)
    first = next((n for n, turn in enumerate(turns) if turn.role == "user"), 0)
    opened = [Turn(turn.role, (Slot("image"),) * pictures * (n == first) + turn.pieces) for n, turn in enumerate(turns)]
    return opened
