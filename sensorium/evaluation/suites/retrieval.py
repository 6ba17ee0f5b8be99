"""Finding the text of a picture and the picture of a text among many (CLIP, arXiv 2103.00020, table 13)."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.source import Source
from sensorium.evaluation.alike import Nearest, Pair, Progress, pairs, picture_vectors, text_vectors
from sensorium.evaluation.suite import Case, Metric, Report, Suite, proportion

AT = (1, 5, 10)


class Retrieval(Suite, name="retrieval"):
    """Pictures and texts are ranked by how alike their embeddings are. Texts that are equal are one candidate; any
    picture of which a text is said is right for it.

    Metrics, for each set and each way (`picture-to-text`, `text-to-picture`): `recall@1`, `@5`, `@10` with Wilson
    intervals, `median-rank` with its order-statistic interval, `chance/...` of each recall (all orders equally likely);
    with `neighbours`, also `nearest/...`: the ranks if the text of the nearest known picture stood for each picture.
    The set called `pairs` has no prefix. Ties count half.
    """

    class Config(Suite.Config):
        sets: dict[str, Source.Config] = Field(min_length=1, description="held-out pictures with their texts, by name")
        pictures: int | None = Field(default=None, ge=1, description="of each set, at most")
        distinct: bool = Field(default=False, description="leave out a picture whose text another has already")
        neighbours: Source.Config | None = Field(
            default=None, description="pictures with texts that are known, such as those it was trained on"
        )
        shown: int = Field(default=10, ge=0, description="pictures of each set for the page")

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        metrics: dict[str, Metric] = {}
        cases: list[Case] = []
        nearest = Nearest(model, self.config.neighbours.build()) if self.config.neighbours and not blind else None
        for name, source in self.config.sets.items():
            found = pairs(source.build(), self.config.pictures, self.config.distinct)
            texts = list(dict.fromkeys(pair.text for pair in found))
            pictures = [pair.picture for pair in found]

            def told(done: int, name: str = name, total: int = len(found)) -> None:
                if progress:
                    progress(name, done, total)

            vectors = text_vectors(model, texts).float().cpu()
            alike = picture_vectors(model, pictures, blind, told) @ vectors.T
            numbers = {text: number for number, text in enumerate(texts)}
            right = torch.tensor([numbers[pair.text] for pair in found])
            prefix = "" if name == "pairs" else f"{name}/"
            found_here = measured(alike, right)
            if nearest:
                others = measured(nearest(pictures) @ vectors.T, right)
                found_here |= {f"nearest/{k}": m for k, m in others.items() if not k.startswith("chance/")}
            metrics |= {_prefixed(key, prefix): metric for key, metric in found_here.items()}
            cases += self._cases(found, texts, alike)
        return Report("retrieval", metrics, cases)

    def _cases(self, found: list[Pair], texts: list[str], alike: Tensor) -> list[Case]:
        step = max(1, len(found) // max(1, self.config.shown))
        best = alike.argmax(1)
        return [
            Case(found[i].picture, "Which text?", texts[int(best[i])], found[i].text, "retrieval")
            for i in range(0, len(found), step)[: self.config.shown]
        ]


def _prefixed(key: str, prefix: str) -> str:
    """The name of a metric of a set; those of guessing keep `chance/` in front."""
    return f"chance/{prefix}{key.removeprefix('chance/')}" if key.startswith("chance/") else prefix + key


def measured(alike: Tensor, right: Tensor) -> dict[str, Metric]:
    """All metrics of similarities `[pictures, texts]`, given the number of each picture's text, int64 `[pictures]`."""
    n, m = alike.shape
    own = alike[torch.arange(n), right][:, None]
    to_text = 1 + (alike > own).sum(1) + 0.5 * ((alike == own).sum(1) - 1)
    holds = right[:, None] == torch.arange(m)
    best = alike.masked_fill(~holds, -torch.inf).amax(0)
    others = alike.masked_fill(holds, -torch.inf)
    to_picture = 1 + (others > best).sum(0) + 0.5 * (others == best).sum(0)
    found: dict[str, Metric] = {}
    for way, ranks, rightly, candidates in (
        ("picture-to-text", to_text, torch.ones(n), m),
        ("text-to-picture", to_picture, holds.sum(0), n),
    ):
        for k in AT:
            found[f"{way}/recall@{k}"] = proportion(int((ranks <= k).sum()), len(ranks))
        found[f"{way}/median-rank"] = median(ranks)
        for k in AT:
            chance = sum(_by_chance(int(r), candidates, k) for r in rightly) / len(ranks)
            found[f"chance/{way}/recall@{k}"] = Metric(chance, len(ranks), (chance, chance))
    return found


def _by_chance(right: int, candidates: int, k: int) -> float:
    """The probability that one of so many right candidates is among the first `k`, in an order drawn at random."""
    k = min(k, candidates)
    return 1 - math.comb(candidates - right, k) / math.comb(candidates, k)


def median(ranks: Tensor) -> Metric:
    """The median with the interval between order statistics that covers it at 95 % (binomial, normal approximation)."""
    ordered, n = ranks.double().sort().values, len(ranks)
    spread = 1.959964 * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - spread)), min(n - 1, math.ceil(n / 2 + spread))
    return Metric(float(ordered.quantile(0.5)), n, (float(ordered[low]), float(ordered[high])), unit="rank")
