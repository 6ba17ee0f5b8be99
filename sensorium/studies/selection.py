"""Does training on what curation keeps beat training on as many samples by chance? The noise of the pool is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sensorium.atomic import write_with
from sensorium.curation.step import Selector
from sensorium.data.selection import Selection, identity
from sensorium.data.sources.selected import Selected
from sensorium.data.worlds.dice import Dice
from sensorium.recipe import Recipe, Share
from sensorium.studies.choosing import Chosen
from sensorium.studies.spoilt import Size, Spoilt, selector
from sensorium.studies.study import Arm, Claim, Study, study

NOISE = {"wrong_caption": 0.25, "near_duplicate": 0.2, "off_topic": 0.1, "low_information": 0.1}

CLAIMS = (
    ("clean", "random", "clean captions teach more than noisy ones: there is something to find", "this project"),
    ("text-and-pictures", "random", "filtering by text and removing repeated pictures helps", "DataComp, 2304.14108"),
    ("semdedup", "random", "semantic duplicates can go", "SemDeDup, 2303.09540, section 4"),
    (
        "bunny-coreset",
        "random",
        "the middle of near-duplicates, then of two rankings",
        "Bunny, 2402.11530, section 3.1",
    ),
    ("dfn", "random", "a network trained on few clean pairs filters many", "DFN, 2309.17425, sections 3 and 4"),
    ("likelihood", "random", "a right caption is likelier with its picture than without", "this project"),
    ("semdedup-dfn", "random", "both", "2303.09540 and 2309.17425"),
    ("semdedup-dfn", "dfn", "a filter by pairs leaves duplicates, which are worth removing first", "this project"),
)


def selectors() -> dict[str, Selector.Config]:
    """What each arm keeps its samples by; all keep the same number."""
    chance: dict[str, Any] = {"type": "random"}
    worded = {"type": "threshold", "column": "text-quality.words", "least": 4}
    alike: dict[str, Any] = {"type": "semdedup", "column": "picture-hash.thumbnail", "clusters": 20}
    dfn = {"type": "top", "column": "dfn.similarity"}
    middle = {"type": "bunny-coreset", **THUMBNAILS, "score_window": (0.15, 0.85), "centroid_window": (0.0, 0.7)}
    parts: dict[str, dict[str, Any]] = {
        "random": chance,
        "text-and-pictures": {"type": "chain", "steps": (worded, {"type": "unique-pictures"}, chance)},
        "semdedup": alike,
        "bunny-coreset": middle,
        "dfn": dfn,
        "likelihood": {"type": "top", "column": "likelihood.gain"},
        "semdedup-dfn": {"type": "chain", "steps": ({**alike, "epsilon": 0.1}, dfn)},
    }
    return {name: selector(part) for name, part in parts.items()}


THUMBNAILS: dict[str, Any] = {
    "column": "picture-hash.thumbnail",
    "clusters": 20,
    "edge": 0.9,
    "score": "dfn.similarity",
}
"""Bunny's coreset for thumbnails, of which repeats have a cosine above 0.9, and for the score of a DFN."""


def clean(task: Spoilt) -> Arm:
    """What a perfect filter would keep: samples that the generator did not spoil."""

    def arm(seed: int, shared: Path) -> Recipe:
        (config,) = task.pool(seed)
        pool = config.build()
        good = [index for index in range(len(pool)) if not pool.noise(index)]
        kept = sorted(Dice("clean", seed).shuffled(good)[: task.size.kept])
        file = shared / f"clean-{seed}.npz"
        write_with(file, Selection(identity(config), np.array(kept, dtype=np.int64)).write)
        return task.learner((Share(source=Selected.Config(source=config, selection=file)),), seed, shared)

    return arm


def of_size(size: Size) -> Study:
    """The study at any size."""
    task = Spoilt(size, NOISE, likelihood=True)
    arms: dict[str, Arm] = {"clean": clean(task)}
    arms |= {name: Chosen(name, task, one, size.kept) for name, one in selectors().items()}
    claims = tuple(Claim(text, source, winner, loser) for winner, loser, text, source in CLAIMS)
    return Study(
        name="selection",
        summary="A captioner trained on a third of a noisy pool: chosen by curation against by chance",
        arms=arms,
        claims=claims,
        metric="caption/f1",
    )


@study
def selection() -> Study:
    """Selections of 1000 of 3000 samples, of which 65 % are spoilt."""
    return of_size(Size())
