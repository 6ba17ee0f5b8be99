"""Bunny's coreset (arXiv 2402.11530, section 3.1), against chance and against SemDeDup, at the same size."""

from __future__ import annotations

from typing import Any

from sensorium.studies.choosing import Chosen
from sensorium.studies.selection import THUMBNAILS
from sensorium.studies.spoilt import Size, Spoilt, selector
from sensorium.studies.study import Claim, Study, study

NOISE = {"wrong_caption": 0.1, "near_duplicate": 0.4, "off_topic": 0.03, "low_information": 0.02}
"""Bunny starts from LAION-2B, which a CLIP score has filtered already, and of which half are near-duplicates."""

SECTION = "Bunny, 2402.11530, section 3.1"
PRUNING = "Bunny's notes on pruning LAION-2B: 66.8 against 66.3 on ImageNet (CLIPA-B/16)"

CLAIMS = (
    Claim("the coreset trains better than as many samples by chance", SECTION, "bunny", "random"),
    Claim("the coreset trains better than SemDeDup's", SECTION, "bunny", "far"),
    Claim("of near-duplicates, keep the middle one rather than the farthest", PRUNING, "middle", "far"),
)


def of_size(size: Size) -> Study:
    """The study at any size. The paper's windows keep 4 % of what is no duplicate and are widened here, about the same
    middles as far as there is room."""
    chance = {"type": "random"}
    all_of: dict[str, Any] = {"score_window": (0.0, 1.0), "centroid_window": (0.0, 1.0)}
    far = {"type": "semdedup", "column": THUMBNAILS["column"], "clusters": THUMBNAILS["clusters"], "epsilon": 0.1}
    parts: dict[str, dict[str, Any]] = {
        "random": chance,
        "far": {"type": "chain", "steps": (far, chance)},
        "middle": {"type": "bunny-coreset", **THUMBNAILS, **all_of},
        "bunny": {
            "type": "bunny-coreset",
            **THUMBNAILS,
            "score_window": (0.15, 0.85),
            "centroid_window": (0.0, 0.7),
        },
    }
    task = Spoilt(size, NOISE)
    return Study(
        name="bunny",
        summary="Bunny's coreset of a pool full of near-duplicates, against chance and SemDeDup",
        arms={name: Chosen(name, task, selector(part), size.kept) for name, part in parts.items()},
        claims=CLAIMS,
        metric="caption/f1",
        seeds=5,
    )


@study
def bunny() -> Study:
    """A quarter of 4000 samples, of which 40 % are near-duplicates."""
    return of_size(Size(pool=4000))
