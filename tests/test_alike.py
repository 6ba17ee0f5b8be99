"""Suites over embeddings: ranks and chance by counting, prompts by hand, baselines where the answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toy import COLOURS, png, toy_recipe

import sensorium as sm
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.evaluation.suites.retrieval import Retrieval, measured, median
from sensorium.evaluation.suites.zero_shot import ZeroShot, ensemble
from sensorium.model import Model, compose
from sensorium.sample import Sample

NAMES = list(COLOURS)


class Shades(Source, name="shades"):
    """Pictures of one colour and some size, with their caption; `repeated` of them have a text that another has."""

    class Config(Source.Config):
        repeated: int = 0
        silent: bool = False

    def __len__(self) -> int:
        return 12 + self.config.repeated

    def __getitem__(self, index: int) -> Sample:
        colour, number = NAMES[index % 4], index % 12
        picture = png(colour, (8 + 2 * index, 8))
        if self.config.silent:
            return Sample((sm.Image(picture),), id=str(index))
        sample = sm.caption(picture, f"a {colour} thing of size {number}", id=str(index), source="shades")
        sample.meta["record"] = {"category": f"colours/{colour}/{number}"}
        return sample


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    config = toy_recipe().model.override(
        "connector=mean-mlp",
        "fusion={type: towers, joint_dim: 8}",
        "backbone={type: text-tower, width: 32, depth: 1, positions: 96}",
        "head=embedding",
    )
    return compose(config).eval()


def test_ranks_are_those_of_counting() -> None:
    dice = torch.Generator().manual_seed(0)
    n, m = 40, 31
    alike = torch.rand(n, m, generator=dice)
    right = torch.cat([torch.arange(m), torch.randint(0, m, (n - m,), generator=dice)])
    found = measured(alike, right)
    orders, columns = alike.argsort(1, descending=True).tolist(), alike.argsort(0, descending=True).T.tolist()
    to_text = [order.index(int(own)) + 1 for order, own in zip(orders, right, strict=True)]
    to_picture = [min(order.index(i) + 1 for i in range(n) if right[i] == text) for text, order in enumerate(columns)]
    for way, ranks in (("picture-to-text", to_text), ("text-to-picture", to_picture)):
        for k in (1, 5, 10):
            metric = found[f"{way}/recall@{k}"]
            assert (metric.value, metric.n) == (sum(rank <= k for rank in ranks) / len(ranks), len(ranks))
            assert metric.ci95[0] <= metric.value <= metric.ci95[1]
        assert found[f"{way}/median-rank"].value == sorted(ranks)[len(ranks) // 2] or len(ranks) % 2 == 0


def test_chance_is_that_of_a_random_order() -> None:
    right = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
    found = measured(torch.zeros(16, 14), right)
    assert found["chance/picture-to-text/recall@1"].value == pytest.approx(1 / 14)
    assert found["chance/picture-to-text/recall@10"].value == pytest.approx(10 / 14)
    dice = torch.Generator().manual_seed(0)
    drawn = [measured(torch.rand(16, 14, generator=dice), right)["text-to-picture/recall@5"].value for _ in range(400)]
    assert found["chance/text-to-picture/recall@5"].value == pytest.approx(sum(drawn) / 400, abs=0.02)
    assert found["picture-to-text/recall@5"].value == 0, (
        "what is alike to all is found by chance alone: ties count half"
    )


def test_medians_have_intervals_of_order_statistics() -> None:
    metric = median(torch.arange(1, 101).float())
    assert (metric.value, metric.n) == (50.5, 100)
    assert metric.ci95 == (41, 61), "sqrt(100) / 2 * 1.96 places to either side"


def test_retrieval_reports_each_set_beside_what_needs_no_alignment(model: Model) -> None:
    config = Retrieval.Config.model_validate(
        {"sets": {"pairs": "shades", "more": {"type": "shades", "repeated": 4}}, "neighbours": "shades"}
    )
    report = config.build().run(model)
    assert report.metrics["picture-to-text/recall@1"].n == 12
    assert report.metrics["more/picture-to-text/recall@1"].n == 16
    assert report.metrics["more/text-to-picture/recall@1"].n == 12, "equal texts are one"
    assert report.metrics["chance/more/picture-to-text/recall@5"].value == pytest.approx(5 / 12)
    assert report.metrics["nearest/picture-to-text/recall@1"].value > 0.3, "each picture is known, some look alike"
    assert report.metrics["picture-to-text/median-rank"].value >= 1
    assert {case.kind for case in report.cases} == {"retrieval"}
    distinct = {"sets": {"pairs": {"type": "shades", "repeated": 4}}, "distinct": True}
    assert Retrieval.Config.model_validate(distinct).build().run(model).metrics["picture-to-text/recall@1"].n == 12
    blind = config.build().run(model, blind=True).metrics
    assert blind["picture-to-text/recall@1"].value <= 1 / 12 + 1e-6
    assert "nearest/picture-to-text/recall@1" not in blind
    with pytest.raises(DataError, match="needs a picture and a supervised text"):
        Retrieval.Config.model_validate({"sets": {"pairs": {"type": "shades", "silent": True}}}).build().run(model)


def test_a_class_is_the_mean_of_its_prompts(model: Model) -> None:
    templates = ("{}", "a picture of {}, or so")
    found = ensemble(model, ["red", "blue"], templates)
    for row, word in zip(found, ("red", "blue"), strict=True):
        each = model.embed([[template.replace("{}", word)] for template in templates])
        wanted = F.normalize(F.normalize(each, dim=-1).mean(0), dim=-1)
        torch.testing.assert_close(row, wanted)


def test_zero_shot_names_classes_by_the_beginnings_of_labels(model: Model) -> None:
    base: dict[str, Any] = {"source": "shades", "templates": ["{}", "a {} thing"]}
    classes = {"colours/red": "red", "colours/green": "green", "colours": "a colour", "other": "nothing"}
    report = ZeroShot.Config.model_validate({**base, "classes": classes, "neighbours": "shades"}).build().run(model)
    assert report.metrics["accuracy"].n == 12
    assert report.metrics["chance"].value == pytest.approx(1 / 3), "a class that no picture has is none"
    assert report.metrics["majority"].value == 0.5, "blue and white are just colours"
    assert {"accuracy/top-5", "accuracy/one-prompt", "accuracy/by-class", "nearest/accuracy"} <= report.metrics.keys()
    assert report.metrics["accuracy/top-5"].value == 1
    only = ZeroShot.Config.model_validate({**base, "classes": {"colours/red": "red"}}).build().run(model)
    assert (only.metrics["accuracy"].value, only.metrics["accuracy"].n) == (1, 3), "the others are left out"
    plain = ZeroShot.Config.model_validate(base).build().run(model)
    assert plain.metrics["chance"].value == pytest.approx(1 / 12)
    assert not math.isnan(plain.metrics["accuracy/by-class"].value)
