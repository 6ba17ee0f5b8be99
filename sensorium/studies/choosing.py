"""Arms that train on what curation keeps: a pool is scored, a selector keeps as many samples as every other arm's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from sensorium.curation.choose import DATA, choose
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.step import Scorer, Selector
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.recipe import Recipe, Share


class Task(Protocol):
    """What is selected from, and what learns from the selection. Every seed has a pool of its own, which is scored
    once; `shared` is the folder of what all arms and seeds of the study share."""

    def pool(self, seed: int) -> Sequence[Source.Config]: ...

    def scorers(self, seed: int, shared: Path) -> Sequence[Scorer.Config]: ...

    def learner(self, data: tuple[Share, ...], seed: int, shared: Path) -> Recipe: ...


@dataclass(frozen=True)
class Chosen:
    """An arm that trains on the `count` samples which a selector keeps of a task's pool. `name` is what its selection's
    folder begins with."""

    name: str
    task: Task
    selector: Selector.Config
    count: int

    def __call__(self, seed: int, shared: Path) -> Recipe:
        """The recipe; a `DataError` if the selector keeps another number of samples, for then it would be compared
        with selections of another size."""
        pool, scorers = Pool(sources=tuple(self.task.pool(seed))), self.task.scorers(seed, shared)
        said = [pool.to_dict(), [one.digest for one in scorers], self.selector.to_dict(), self.count]
        key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
        folder = shared / f"{self.name}-{seed}-{key}"
        if not (folder / DATA).is_file():
            scores = shared / f"scores-{seed}"
            pool.claim(scores)
            for scorer in scorers:
                score(pool.sources, scorer, scores)
            choose(scores, self.selector, folder, count=self.count)
        shares = [Share.from_dict(share) for share in yaml.safe_load((folder / DATA).read_text())["data"]]
        kept = round(sum(share.weight for share in shares))  # a share weighs as much as it has samples
        if kept != self.count:
            raise DataError(f"{self.name} keeps {kept} samples and {self.count} are compared; widen it")
        return self.task.learner(tuple(shares), seed, shared)
