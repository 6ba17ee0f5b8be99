"""Mixtures that follow what was learned: Skill-It, its graph, and M2-omni's balance of rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_model, toy_recipe

from sensorium.data.loader import Loader
from sensorium.data.mixture import Mixture
from sensorium.errors import ConfigError
from sensorium.policies.skill_it import SkillIt
from sensorium.training.skills import learn_graph
from sensorium.training.stage_run import StageRun, reading
from sensorium.training.trainer import train

TWO = "stages.0.data=[{source: {type: toy, samples: 20}}, {source: {type: toy, samples: 30, words: 6}, weight: 2}]"
POLICY = (
    "stages.0.policy={type: skill-it, every: 3, rows: 1, eta: 2.0, window: 2, graph: [[1, 0.5], [0, 1]], "
    "targets: [{type: toy, samples: 7}, {type: toy, samples: 7, words: 3}]}"
)


def skill_it(graph: list[list[float]], **changes: Any) -> SkillIt:
    targets = [{"type": "toy"}] * len(graph[0])
    return SkillIt(SkillIt.Config.from_dict({"graph": graph, "targets": targets, **changes}))


def shares(weights: list[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def test_weights_by_hand() -> None:
    policy = skill_it([[1, 0.5], [0, 1]], eta=0.5, window=2)
    first = shares(policy.weights([1, 1], []))
    assert first == pytest.approx(shares([math.exp(0.75), math.exp(0.5)]))
    rounds = [[9.0, 9.0], [2.0, 1.0], [1.0, 1.0]]  # the first has left the window
    powers = [0.5 * (3 + 0.5 * 2), 0.5 * 2]
    assert shares(policy.weights([1, 3], rounds)) == pytest.approx(
        shares([math.exp(powers[0]), 3 * math.exp(powers[1])])
    )


def test_without_eta_the_prior_stays_and_with_no_edges_between_skills_the_worse_known_gains() -> None:
    assert shares(skill_it([[1, 0], [0, 1]], eta=0).weights([1, 3], [[5.0, 0.1]])) == [0.25, 0.75]
    apart = skill_it([[1, 0], [0, 1]])
    assert shares(apart.weights([1, 1], [[2.0, 2.0]])) == [0.5, 0.5]
    worse, better = apart.weights([1, 1], [[2.0, 1.0]])
    assert worse > better
    parents = skill_it([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    low, high = (shares(parents.weights([1, 1, 1], [[1.0, 1.0, loss]])) for loss in (1.0, 3.0))
    assert high[0] > low[0]
    assert high[2] > low[2]
    assert high[1] < low[1]


@pytest.mark.parametrize(
    ("graph", "message"),
    [("[[1, 0]]", r"policy.graph is 1 x 2; expected 2 sources x 2 targets"), ("[[1, 0], [-1, 1]]", "negative edges")],
)
def test_a_graph_that_does_not_fit(graph: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        toy_recipe(TWO, POLICY, f"stages.0.policy.graph={graph}")


def test_new_weights_count_from_where_they_begin() -> None:
    mixture = Mixture([range(50), range(50)], [1, 1], 0)
    for _ in range(40):
        mixture.next_key()
    mixture.reweigh([3, 1])
    for _ in range(40):
        mixture.next_key()
    assert mixture.drawn == [20 + 30, 20 + 10]


def test_weights_follow_the_losses_and_are_resumed_exactly(tmp_path: Path) -> None:
    recipe = toy_recipe(TWO, POLICY, "save_every=4")
    whole = train(recipe, tmp_path / "whole", quiet=True).state_dict()
    train(recipe, tmp_path / "halves", quiet=True, stop_after=5)
    halves = train(recipe, tmp_path / "halves", quiet=True, resume=True, workers=1).state_dict()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "halves")
    ]
    mixtures = [[(line["step"], line["mixture"]) for line in log if "mixture" in line] for log in logs]
    assert mixtures[0] == mixtures[1]
    steps = [step for step, _ in mixtures[0]]
    assert steps == [1, 4]
    first, second = mixtures[0][0][1], mixtures[0][1][1]
    assert first == pytest.approx(shares([math.exp(2 * 1.5), 2 * math.exp(2 * 1.0)]))
    assert second != first
    losses = next(line["target_losses"][0] for line in logs[0] if line["step"] == 4)
    powers = [2 * (losses[0] + 0.5 * losses[1]), 2 * losses[1]]
    assert second == pytest.approx(shares([math.exp(powers[0]), 2 * math.exp(powers[1])]))


def test_the_graph_is_learned_by_trying() -> None:
    """A source teaches the target that is of its kind most."""
    kinds = [{"type": "toy", "samples": 15}, {"type": "toy", "samples": 15, "words": 12}]
    data = json.dumps([{"source": kind} for kind in kinds])
    targets = json.dumps([{**kind, "samples": 10} for kind in kinds])
    policy = f"stages.0.policy={{type: skill-it, rows: 1, graph: [[1, 1], [1, 1]], targets: {targets}}}"
    learned = learn_graph(toy_recipe(f"stages.0.data={data}", policy, "stages.0.lr=3e-3"), 0, 8)
    graph = torch.tensor(learned["graph"])
    assert graph.shape == (2, 2)
    assert (graph.max(dim=0).values == 1).all()
    assert graph[1, 1] == 1 > graph[0, 1] >= 0
    assert min(learned["after"][1]) < max(learned["before"])


# balance of rows


def by_rows(*changes: str) -> list[str]:
    return [TWO, "stages.0.balance=rows", "stages.0.rows=4", "stages.0.micro_rows=1", *changes]


def test_every_step_has_as_many_rows_of_each_source() -> None:
    loader = Loader(reading(toy_recipe(*by_rows()), 0, toy_model().layout), 1)
    seen = []
    for _ in range(4):
        sources = [{key.split(":")[0] for row in batch.keys for key in row} for batch in loader.next_step()]
        assert sources == [{"0"}, {"0"}, {"1"}, {"1"}]
    for row in (0, 1):
        seen += [key for state in [loader.states[row]] for key in state["waiting"][::2]]
    assert set(seen) == {0}


def test_the_gradient_is_the_weighted_sum_of_the_sources_mean_gradients(tmp_path: Path) -> None:
    recipe = toy_recipe(*by_rows("stages.0.data.0.loss_weight=0.5", "stages.0.data.1.loss_weight=3"))
    model = toy_model()
    run = StageRun(recipe, 0, model, tmp_path)
    batches = run.loader.next_step()
    loss, _ = run.accumulate(batches)
    wanted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    expected = 0.0
    for weight, of_source in ((0.5, batches[:2]), (3.0, batches[2:])):
        model.zero_grad()
        losses = [run.objective(model, batch) for batch in of_source]
        mean = weight * sum(one.total for one in losses) / sum(one.count for one in losses)
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(gradient is None for gradient in gradients.values())
        mean.backward()  # type: ignore[union-attr]
        expected += float(mean.detach())  # type: ignore[union-attr]
        for name, p in model.named_parameters():
            wanted[name] += p.grad
    model.zero_grad()
    run.accumulate(batches)
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", ["stages.0.rows=3", "stages.0.micro_rows=4"])
def test_rows_that_cannot_be_balanced(change: str) -> None:
    with pytest.raises(ConfigError, match=r"balance=rows needs as many rows of each of 2 sources"):
        toy_recipe(*by_rows(change))
    with pytest.raises(ConfigError, match=r"data.0.loss_weight is for balance=rows; set that, or use weight"):
        toy_recipe("stages.0.data.0.loss_weight=2")
