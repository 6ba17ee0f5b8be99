"""Figures of a stage's data before any training, and what differs between two."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sensorium.data.mixture import Key, permuted
from sensorium.data.packer import Packer
from sensorium.data.quarantine import kind_of
from sensorium.errors import ConfigError, DataError
from sensorium.laid_out import LaidOut
from sensorium.pages.inspect import make_layout
from sensorium.pages.keys import stage_number
from sensorium.pages.survey import labels
from sensorium.recipe import Recipe, find_recipe
from sensorium.sample import Image, Sample, Text
from sensorium.training.stage_run import reading

QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


@dataclass
class Figures:
    """What is known of a source from some of its samples, spread over it at random."""

    source: str
    size: int
    read: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """how often each reason was given, numbers and names left out"""
    examples: dict[str, str] = field(default_factory=dict)
    """the first message of each reason, in full"""
    repeated: int = 0
    """samples with the text and pictures of one before"""
    spread: dict[str, dict[str, float]] = field(default_factory=dict)
    """quantiles of each measure"""
    prints: list[str] = field(default_factory=list)
    """a hash of each sample's text and pictures, by which another source's are found"""


def figures(recipe: Recipe, stage: str, samples: int) -> list[Figures]:
    """The figures of each source of a stage, from up to so many samples of each."""
    number = stage_number(recipe, stage)
    packer = reading(recipe, number, make_layout(recipe)).packer(lambda refusal: None)
    named = labels(recipe.stages[number].data)
    return [_figures(packer, source, label, samples) for source, label in enumerate(named)]


def _figures(packer: Packer, source: int, label: str, samples: int) -> Figures:
    size = len(packer.mixture.sources[source])
    found, measured = Figures(label, size), []
    for place in range(min(samples, size)):
        key = Key(source, permuted(place, size, "stats"))
        found.read += 1
        try:
            laid = packer.lay(key)
            measured.append(_measures(laid))
            found.prints.append(fingerprint(laid.sample))
        except DataError as error:
            kind = kind_of(str(error))
            found.refused[kind] = found.refused.get(kind, 0) + 1
            found.examples.setdefault(kind, str(error))
    found.repeated = len(found.prints) - len(set(found.prints))
    for name in dict.fromkeys(name for one in measured for name in one):
        values = np.concatenate([one[name] for one in measured if name in one])
        found.spread[name] = {word: float(np.quantile(values, share)) for word, share in QUANTILES.items()}
    return found


def _measures(laid: LaidOut) -> dict[str, list[float]]:
    """Numbers of a sample; those of pictures are one a picture."""
    sizes = [span.cut.size for span in laid.spans if isinstance(span.segment, Image)]
    numbers: dict[str, list[float]] = {
        "tokens": [len(laid)],
        "supervised tokens": [int(laid.supervised.sum())],
        "characters": [sum(len(s.text) for s in laid.sample.segments if isinstance(s, Text))],
        "pictures": [len(sizes)],
    }
    if sizes:
        numbers["tiles"] = [laid.tiles]
        numbers["shorter side"] = [min(size) for size in sizes]
        numbers["aspect"] = [max(size) / min(size) for size in sizes]
    return numbers


def fingerprint(sample: Sample) -> str:
    """A hash of a sample's text and encoded pictures; generated pictures count by their description."""
    digest = hashlib.blake2b(digest_size=8)
    for segment in sample.segments:
        if isinstance(segment, Text):
            digest.update(b"t" + segment.text.encode())
    for image in sample.images:
        source = image.source
        if isinstance(source, str | Path):
            source = Path(source).read_bytes()
        read = getattr(source, "read", None)
        digest.update(b"p" + (source if isinstance(source, bytes) else read() if read else repr(source).encode()))
    return digest.hexdigest()


def show_figures(found: Sequence[Figures], console: Console) -> None:
    """A table a source."""
    for one in found:
        table = Table(title=f"{one.source}: {one.size:,} samples, {one.read:,} read", title_justify="left", box=None)
        table.add_column("")
        for word in QUANTILES:
            table.add_column(word, justify="right")
        for name, quantiles in one.spread.items():
            table.add_row(name, *(_short(value) for value in quantiles.values()))
        console.print(table)
        console.print(f"repeated {one.repeated:,}; refused {sum(one.refused.values()):,}", highlight=False)
        for kind, count in Counter(one.refused).most_common(5):
            console.print(f"  {count:,} × {one.examples[kind]}", highlight=False, markup=False)
        console.print()


def load_figures(what: str, stage: str, samples: int) -> list[Figures]:
    """Figures of a recipe's stage, or those that `data stats --json` wrote."""
    if not what.endswith(".json"):
        return figures(find_recipe(what), stage, samples)
    try:
        return [Figures(**entry) for entry in json.loads(Path(what).read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{what}: not what `sensorium data stats --json` writes ({error})") from None


def difference(before: Sequence[Figures], after: Sequence[Figures]) -> list[dict[str, Any]]:
    """What differs, source by source: the counts, the medians and extremes, and how many of the samples that were read
    are in both. Sources are paired in order."""
    rows = []
    for a, b in zip(before, after, strict=False):
        both, pairs = len(set(a.prints) & set(b.prints)), list(_pairs(a, b))
        rows.append({"sources": [a.source, b.source], "in both": both, "figures": pairs})
    return rows


def _pairs(a: Figures, b: Figures) -> Iterator[tuple[str, float, float]]:
    for name in ("size", "read", "repeated"):
        yield name, getattr(a, name), getattr(b, name)
    yield "refused", sum(a.refused.values()), sum(b.refused.values())
    for name in dict.fromkeys([*a.spread, *b.spread]):
        for word in QUANTILES:
            first, second = (one.spread.get(name, {}).get(word, float("nan")) for one in (a, b))
            yield f"{name}, {word}", first, second


def show_difference(before: Sequence[Figures], after: Sequence[Figures], console: Console) -> None:
    """Tables of what changed; figures that are equal are left out."""
    if len(before) != len(after):
        console.print(f"{len(before)} sources against {len(after)}; compared in order", highlight=False)
    for row in difference(before, after):
        first, second = row["sources"]
        title = first if first == second else f"{first} → {second}"
        table = Table("", "before", "after", "change", title=title, title_justify="left", box=None)
        changed = [(name, a, b) for name, a, b in row["figures"] if a != b]
        for name, a, b in changed:
            table.add_row(name, _short(a), _short(b), f"{100 * (b / a - 1):+.1f} %" if a else "")
        console.print(table if changed else f"{title}: no figure differs", highlight=False)
        console.print(f"samples in both, of those that were read: {row['in both']:,}\n", highlight=False)


def as_json(found: Sequence[Figures]) -> str:
    return json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False)


def _short(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
