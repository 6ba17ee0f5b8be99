"""Records (named fields) to samples: text from templates, and splits that nothing straddles."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sensorium.data.folder import FolderConfig
from sensorium.errors import DataError
from sensorium.sample import PictureSource, Sample, caption, chat


class SplitConfig(FolderConfig):
    """Which part of what is in a folder is read."""

    split: Literal["train", "test", "all"] = "all"
    held_out: float = Field(
        default=0.1, gt=0, lt=1, description="share that is test and not train, by hash: never by order"
    )


class TemplateConfig(SplitConfig):
    """What is said about each picture."""

    style: Literal["caption", "chat"] = Field(
        default="chat", description="running text after the picture, or a conversation"
    )
    caption: str = Field(default="{caption}", description="template; {a.b} is field b of field a")
    turns: tuple[tuple[str, str], ...] = Field(
        default=(("What is this?", "{caption}"),),
        min_length=1,
        description="templates of questions and answers, in order",
    )


def read_record(raw: bytes, name: str) -> dict[str, Any]:
    """A record as JSON. `name` opens the `DataError` if it is none."""
    try:
        record = json.loads(raw)
        if rb"\ud" in raw.lower():  # escapes of half a character, which no tokenizer takes
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not JSON ({error}); found {raw[:60]!r}; correct or remove it") from None
    if not isinstance(record, dict):
        raise DataError(f"{name}: a {type(record).__name__}, not a JSON object; correct or remove it")
    return record


def make_sample(
    config: TemplateConfig, record: Mapping[str, Any], picture: PictureSource, id: str, name: str
) -> Sample:
    """A record in the words of the config. `name` opens the `DataError` for a field that is missing.

    `Sample.meta` is {"caption": the caption, whatever the style, "record": the record}.
    """
    source = config.title
    text = fill(config.caption, record, name)
    if config.style == "caption":
        sample = caption(picture, text, id=id, source=source)
    else:
        turns = [(fill(ask, record, name), fill(answer, record, name)) for ask, answer in config.turns]
        sample = chat([picture], turns, id=id, source=source)
    sample.meta.update(caption=text, record=without_bytes(record))
    return sample


def without_bytes(value: Any) -> Any:
    """A record without what is not text or numbers: pictures are in the segments already."""
    if isinstance(value, Mapping):
        return {key: without_bytes(inner) for key, inner in value.items() if not isinstance(inner, bytes)}
    if isinstance(value, list):
        return [without_bytes(inner) for inner in value if not isinstance(inner, bytes)]
    return value


def fill(template: str, record: Mapping[str, Any], name: str) -> str:
    """Put fields in the places of a template; lists become `a, b`. An absent or empty field is a `DataError`."""

    def value(match: re.Match[str]) -> str:
        found = look_up(record, match[1])
        if found is None or found in ("", [], {}):
            known = ", ".join(record)
            raise DataError(f"{name}: has no '{match[1]}' for the template '{template}'; its fields are {known}")
        return ", ".join(map(str, found)) if isinstance(found, list) else str(found)

    return re.sub(r"\{([\w.-]+)\}", value, template)


def record_of(sample: Sample) -> dict[str, Any]:
    """The fields that a sample comes with; a `DataError` if it has none."""
    record = sample.meta.get("record")
    if not isinstance(record, dict):
        raise DataError(f"{sample.name}: comes without a record; jsonl and tar give one, and selections with texts")
    return record


def noted(record: Mapping[str, Any], path: str, value: str, name: str) -> dict[str, Any]:
    """The record with field `a.b` as well; a `DataError` that begins with `name` if there is one already."""
    key, _, rest = path.partition(".")
    there = record.get(key, {})
    if not isinstance(there, Mapping) or (there and not rest):
        raise DataError(f"{name}: its record has '{key}' already; score again with another label (label=NAME)")
    return {**record, key: noted(there, rest, value, name) if rest else value}


def look_up(record: Mapping[str, Any], path: str) -> Any:
    """Field `a.b` of a record, or None."""
    found: Any = record
    for key in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def chosen(count: int, shares: Iterable[np.ndarray], config: SplitConfig) -> Sequence[int] | np.ndarray:
    """The places out of `count` that the config's split has, given the `share` of each one's group, in one array or
    several; groups are never divided."""
    if config.split == "all":
        return range(count)
    return np.flatnonzero((np.concatenate([*shares]) < config.held_out) == (config.split == "test"))


def keys(field: str, value: Any) -> list[str]:
    """What ties a record to others that have the same in a field: one key for each of a list, none for nothing. A
    picture in the record is known by its bytes."""
    if isinstance(value, list):
        return [key for inner in value for key in keys(field, inner)]
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        return keys(field, value.get("bytes") or value.get("path"))
    if isinstance(value, bytes):
        return [f"{field}:{hashlib.sha256(value).hexdigest()}"]
    return [] if value in (None, "") else [f"{field}:{normal(str(value))}"]


def connected(keys: Sequence[Sequence[str]]) -> list[str]:
    """One group a record, such that records with any key in common, directly or through others, share it: the
    smallest key of them all (union-find)."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for own in keys:
        for key in own[1:]:
            first, second = sorted((root(own[0]), root(key)))
            parent[second] = first
    return [root(own[0]) for own in keys]


def normal(text: str) -> str:
    """Text by which captions count as the same: letters and digits in lower case, single spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))
