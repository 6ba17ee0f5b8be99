"""The first packs of a stage, read as training would read them, with what went wrong on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.mixture import Key
from sensorium.data.quarantine import Refusal, kind_of, too_many
from sensorium.data.tiling import Tiling
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut
from sensorium.layout import Layout
from sensorium.recipe import Recipe, Share, Stage
from sensorium.training.stage_run import reading


@dataclass(frozen=True)
class Refused:
    """A sample that training would quarantine; `place` is its index in the source, or its name."""

    source: str
    place: str
    reason: str


@dataclass
class Survey:
    """What the packer of a stage did. `drawn` holds every sample it laid out, with the number of its share."""

    stage: Stage
    labels: list[str]
    packs: list[list[LaidOut]] = field(default_factory=list)
    drawn: list[tuple[int, LaidOut]] = field(default_factory=list)
    refused: dict[Refused, None] = field(default_factory=dict)
    """an ordered set: a short source is read more than once"""
    counted: int = 0
    """refusals, with repetitions"""
    stopped: str = ""
    """why the run would stop, if it would"""

    @property
    def tokens(self) -> int:
        """Tokens in the packs, padding left out."""
        return sum(len(laid) for pack in self.packs for laid in pack)

    @property
    def efficiency(self) -> float:
        return self.tokens / (len(self.packs) * self.stage.length) if self.packs else 0.0

    def source_of(self, laid: LaidOut) -> str:
        return next((self.labels[share] for share, one in self.drawn if one is laid), laid.sample.source)

    def reasons(self) -> list[list[Refused]]:
        """What was refused, by the kind of the reason; the most frequent first."""
        kinds: dict[str, list[Refused]] = {}
        for bad in self.refused:
            kinds.setdefault(kind_of(bad.reason), []).append(bad)
        return sorted(kinds.values(), key=len, reverse=True)

    def shares(self) -> list[tuple[str, dict[str, int]]]:
        """For each source of the stage: samples, tokens, tokens of pictures, supervised tokens of what was drawn."""
        totals = [Counter[str]() for _ in self.labels]
        for share, laid in self.drawn:
            media = sum(span.length for span in laid.spans)
            totals[share].update(samples=1, tokens=len(laid), media=media, supervised=int(laid.supervised.sum()))
        return [(label, dict(total)) for label, total in zip(self.labels, totals, strict=True)]


def survey(recipe: Recipe, number: int, layout: Layout, packs: int) -> Survey:
    """Read the first packs of stage `number`; needs no weights."""
    found = Survey(recipe.stages[number], labels(recipe.stages[number].data))
    whole = reading(recipe, number, layout)
    packers = [whole.packer(partial(_give_up, found, recipe), row, whole.rows) for row in range(whole.rows)]
    for packer in packers:
        packer.lay = partial(_noting, found, packer.lay)
    try:
        while len(found.packs) < packs and (pack := packers[len(found.packs) % whole.rows].next_pack()):
            found.packs.append(pack.laid)
    except DataError as error:
        found.stopped = str(error)
    _decode(found, layout.tiling)
    return found


def _noting(found: Survey, lay: Callable[[Key], LaidOut], key: Key) -> LaidOut:
    try:
        found.drawn.append((key.source, lay(key)))
    except DataError as error:
        found.refused[Refused(found.labels[key.source], str(key.index), str(error))] = None
        raise
    return found.drawn[-1][1]


def _give_up(found: Survey, recipe: Recipe, refusal: Refusal) -> None:
    found.counted += 1
    if found.counted > recipe.max_bad_samples:
        raise too_many(found.counted, recipe.max_bad_samples, refusal.reason)


def _decode(found: Survey, tiling: Tiling) -> None:
    """Open every picture and sound of the packs, as the loader will: some are found out only then."""
    for laid in (laid for pack in found.packs for laid in pack):
        try:
            for _ in tiling.opened([span.segment for span in laid.spans], laid.sample.name):
                pass
        except DataError as error:
            found.refused[Refused(found.source_of(laid), laid.sample.id, str(error))] = None


def labels(data: tuple[Share, ...]) -> list[str]:
    """A name for each source: its type, and where a type comes twice, its folder's name or, if that does not tell them
    apart, the fields in which it differs."""
    configs = [share.source.to_dict() for share in data]
    return [_label(config, [other for other in configs if other["type"] == config["type"]]) for config in configs]


def _label(config: dict[str, Any], family: list[dict[str, Any]]) -> str:
    folders = [PurePosixPath(other.get("folder", "")).name for other in family]
    if len(family) > 1 and len(set(folders)) == len(family):
        return f"{config['type']} {PurePosixPath(config.get('folder', '')).name}"
    different = [key for key in config if any(other[key] != config[key] for other in family)]
    named = ", ".join(f"{key}={config[key]}" for key in different)
    return f"{config['type']} ({named})" if named else config["type"]
