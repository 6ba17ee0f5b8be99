"""Losses over all pairs of a step: against their definitions, however the step is split, over ranks, in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor
from toy import Toy, png, toy_model, toy_recipe

import sensorium as sm
from sensorium.backbones.backbone import Attention
from sensorium.checks import run_checks
from sensorium.data.batch import collate
from sensorium.errors import ConfigError, DataError
from sensorium.heads.embedding import EmbeddingHead
from sensorium.objectives.contrastive import pairs, text_keys
from sensorium.objectives.objective import Objective
from sensorium.training.spanning import Spanning
from sensorium.training.stage_run import StageRun
from sensorium.training.texts import kept_texts
from sensorium.training.trainer import train

TOWERS = (
    "model.connector=mean-mlp",
    "model.fusion={type: towers, joint_dim: 8}",
    "model.backbone={type: text-tower, width: 32, depth: 2, positions: 96}",
    "model.head=embedding",
)
BOTH = "model.head=token-and-embedding"
"""For recipes whose other stage writes."""
OBJECTIVES = ("contrastive", "sigmoid-contrastive", "captioning-contrastive")
PAIRED = (0, 1, 2, 3, 5, 6, 7, 8)


def towers(*more: str) -> Any:
    model = toy_recipe().model.override(*(item.removeprefix("model.") for item in (*TOWERS, *more)))
    torch.manual_seed(0)
    return sm.model.compose(model)


class Stub:
    """A model whose embeddings are given."""

    def __init__(self, **settings: Any) -> None:
        weight = torch.nn.Parameter(torch.zeros(4, 6))
        self.embedder: Any = EmbeddingHead(EmbeddingHead.Config(**settings), weight, None, 6)


def embeddings(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    found = [F.normalize(torch.randn(n, 6, generator=dice, dtype=torch.float64), dim=-1) for _ in range(2)]
    return found[0].requires_grad_(), found[1].requires_grad_()


def objective(name: str, **settings: Any) -> Any:
    return Objective.Config.model_validate({"type": name, **settings}).build()


# definitions


def test_the_sigmoid_loss_is_that_of_the_paper() -> None:
    pictures, texts = embeddings(5)
    model = Stub(scale=10, logit_bias=-10.0)
    found = objective("sigmoid-contrastive").compare(model, (pictures, texts), 5) / 5
    t, b = 10.0, -10.0
    wanted = 0.0
    for i in range(5):
        for j in range(5):
            z = 1 if i == j else -1
            wanted -= math.log(1 / (1 + math.exp(-z * (t * (pictures[i] @ texts[j]).item() + b)))) / 5
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_the_first_sigmoid_loss_is_about_the_bias() -> None:
    dice = torch.Generator().manual_seed(0)
    pictures, texts = (F.normalize(torch.randn(64, 512, generator=dice), dim=-1) for _ in range(2))
    found = objective("sigmoid-contrastive").compare(Stub(scale=10, logit_bias=-10.0), (pictures, texts), 64) / 64
    assert float(found) == pytest.approx(10.0, abs=0.2), "a pair is held to be none, and all else too"


def test_the_softmax_loss_is_symmetric_and_cross_entropy() -> None:
    pictures, texts = embeddings(6)
    keys, model = torch.arange(6), Stub()
    one, other = (
        objective("contrastive").compare(model, (a, b, keys), 6) for a, b in ((pictures, texts), (texts, pictures))
    )
    assert float(one) == pytest.approx(float(other))
    logits = pictures @ texts.T / 0.07
    wanted = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    assert float(one) / 6 == pytest.approx(float(wanted), rel=1e-5)


def test_equal_texts_are_no_negatives_if_so_wished() -> None:
    pictures, texts = embeddings(4)
    texts = texts[[0, 1, 1, 3]]
    keys, model = torch.tensor([7, 8, 8, 9]), Stub()
    found = objective("contrastive", same_texts=True).compare(model, (pictures, texts, keys), 4)
    logits = pictures @ texts.T / 0.07
    logits[1, 2] = logits[2, 1] = -math.inf
    labels = torch.arange(4)
    wanted = (F.cross_entropy(logits, labels, reduction="sum") + F.cross_entropy(logits.T, labels, reduction="sum")) / 2
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_texts_have_keys_by_their_words_and_order() -> None:
    model = towers()
    texts = ["a red dot", "a blue dot", "a red dot", "dot red a", "a red"]
    laid = [model.layout(sm.caption(png("red", (8, 8)), text, id=text)) for text in texts]
    keys = text_keys(collate([laid[:2], laid[2:]], model.layout)).tolist()
    assert keys[0] == keys[2]
    assert len(set(keys)) == 4


def test_scales_are_brought_back() -> None:
    head: Any = Stub(max_scale=100.0).embedder
    for far, wanted in ((9.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)):
        with torch.no_grad():
            head.logit_scale.fill_(far)
        head.settle()
        assert float(head.logit_scale) == pytest.approx(wanted)


# who is paired with whom


def test_pairs_are_samples_with_a_picture_and_a_supervised_text() -> None:
    model, toy = towers(), Toy(Toy.Config())
    laid = [model.layout(toy[i]) for i in range(10)]
    batch = collate([laid[:3], laid[3:7], laid[7:]], model.layout)
    _, pictures, texts = model.embed_batch(batch)
    found = pairs(pictures, texts, batch)
    alone = [model.embed_batch(collate([[laid[i]]], model.layout)) for i in PAIRED]
    assert objective("contrastive").count(batch) == len(PAIRED) == len(found[0])
    torch.testing.assert_close(found[0], torch.cat([one.vectors for _, one, _ in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], torch.cat([one.vectors for _, _, one in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "picture"), [("last", "mean"), ("first", "mean"), ("mean", "first"), ("query", "mean")]
)
def test_pooling_is_of_each_text_and_each_picture_by_itself(pool: str, picture: str) -> None:
    settings = f"{{pool: {pool}, picture: {picture}, dim: 12, norm: true}}"
    model = toy_model(
        "model.connector=pixel-shuffle", f"model.head={{type: token-and-embedding, embedding: {settings}}}"
    )
    toy = Toy(Toy.Config())
    laid = [model.layout(toy[i]) for i in (0, 3, 1)]
    batch = collate([laid[:2], laid[2:]], model.layout)
    hidden, pictures, texts = model.embed_batch(batch)
    media, features = model.media(batch), batch.pictures.features.tolist()
    parts = [part[:1] if picture == "first" else part for part in media.split(features)]
    means = [part.mean(0) for part in parts]
    wanted = torch.stack([means[0], (means[1] + means[2]) / 2, means[3]])
    torch.testing.assert_close(pictures.vectors, model.embedder.see(wanted))
    places = [(0, batch.documents[0] == 1), (0, batch.documents[0] == 2), (1, batch.documents[1] == 1)]
    for number, (row, own) in enumerate(places):
        tokens = hidden[row][own & ~batch.media[row]]
        if pool == "query":
            (pooled,) = model.embedder.query(tokens, torch.tensor([len(tokens)]))
        else:
            pooled = {"last": tokens[-1], "first": tokens[0], "mean": tokens.mean(0)}[pool]
        torch.testing.assert_close(texts.vectors[number], model.embedder(pooled), rtol=1e-4, atol=1e-5)


def test_an_inner_layer_can_be_read() -> None:
    head = "model.head={type: token-and-embedding, embedding: {layer: 0, pool: mean}}"
    model, toy = toy_model("model.connector=pixel-shuffle", head), Toy(Toy.Config())
    batch = collate([[model.layout(toy[0])]], model.layout)
    seen: list[Tensor] = []
    hook = model.backbone.layers[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    _, _, texts = model.embed_batch(batch)
    hook.remove()
    (tokens,) = (seen[0][0][~batch.media[0]],)
    torch.testing.assert_close(texts.vectors[0], model.embedder(tokens.mean(0)))


# however it is split


TWO_SOURCES = ("stages.0.balance=rows", "stages.0.data=[{source: toy}, {source: toy}]")


def gradients(run: StageRun) -> tuple[float, dict[str, Tensor]]:
    run.model.zero_grad()
    loss, _ = run.accumulate(run.loader.next_step())
    return loss, {n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("more", [(), ("stages.0.lanes=2",), TWO_SOURCES], ids=["", "lanes", "rows"])
def test_the_gradient_is_that_of_the_whole_step(name: str, more: tuple[str, ...], tmp_path: Path) -> None:
    found = []
    for rows in (2, 1) if more is TWO_SOURCES else (4, 2, 1):
        recipe = toy_recipe(
            "model.connector=pixel-shuffle", BOTH, f"stages.0.objective={name}", f"stages.0.micro_rows={rows}", *more
        )
        torch.manual_seed(0)
        run = StageRun(recipe, 0, sm.model.compose(recipe.model).double(), tmp_path)
        with run.running():
            found.append(gradients(run))
    for loss, grads in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        assert grads.keys() == found[0][1].keys()
        for key, grad in grads.items():
            torch.testing.assert_close(grad, found[0][1][key], rtol=1e-5, atol=1e-8)


def test_dropout_is_the_same_in_both_readings(tmp_path: Path) -> None:
    recipe = toy_recipe(*TOWERS, BOTH, "model.connector.dropout=0.5", "stages.0.objective=contrastive",
                        "stages.0.micro_rows=2")  # fmt: skip
    torch.manual_seed(0)
    run = StageRun(recipe, 0, sm.model.compose(recipe.model), tmp_path)
    batches = run.loader.next_step()
    torch.manual_seed(5)
    _, count = run.accumulate(batches)
    torch.manual_seed(5)  # what was drawn the first time, in one graph
    reads = [run.objective.read(run.model, batch) for batch in batches]  # type: ignore[attr-defined]
    columns = tuple(torch.cat(column) for column in zip(*(read.compared for read in reads), strict=True))
    total = run.objective.compare(run.model, columns, count) / count  # type: ignore[attr-defined]
    for parameter, wanted in zip(run.parameters, torch.autograd.grad(total, run.parameters), strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)


# over ranks


ON_RANKS = (*OBJECTIVES, "blip2-stage-1")
READING = (
    "model.connector={type: q-former, queries: 4, width: 16, num_heads: 2, text: true, joint_dim: 8}",
    "model.tiling=whole",
)


def toy_batches(model: Any, rows: list[list[int]]) -> list[Any]:
    toy = Toy(Toy.Config())
    return [collate([[model.layout(toy[i]) for i in row]], model.layout) for row in rows]


ROWS = [[0, 1], [2, 3, 4], [5], [4]]
"""What the rows of a step hold: ranks have different numbers of pairs, and the last row none."""


def step(name: str, rows: list[list[int]], together: bool) -> tuple[float, list[Tensor]]:
    """The loss and the gradients of a step, summed over ranks."""
    torch.set_num_threads(1)
    built: Any = objective(name)
    comparing = "model.connector=pixel-shuffle", "model.head={type: token-and-embedding, embedding: {logit_bias: -1}}"
    model = toy_model(*(READING if built.reads_text else comparing)).double()
    if built.reads_text:  # of one picture alone
        rows = [[6 if place == 3 else place for place in row] for row in rows]
    batches = toy_batches(model, rows)
    parameters = list(model.parameters())
    spanning = Spanning(built, model, parameters, torch.enable_grad)
    count = torch.tensor(float(sum(built.count(batch) for batch in batches)))
    if together:
        dist.all_reduce(count)
    loss = torch.tensor(spanning.backward(batches, float(count)))
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if together:
        for value in (loss, *grads):
            dist.all_reduce(value)
    return float(loss / count), grads


def rank(number: int, world: int, file: str, out: str, rows: list[list[list[int]]]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=number, world_size=world)
    found = {name: step(name, rows[number], together=True) for name in ON_RANKS}
    if number == 0:
        torch.save(found, out)
    dist.destroy_process_group()


TWO, THREE = [ROWS[:2], ROWS[2:]], [[ROWS[0]], [ROWS[1], ROWS[2]], [ROWS[3]]]


@pytest.mark.parametrize("rows", [TWO, pytest.param(THREE, marks=pytest.mark.slow)], ids=["two", "three"])
def test_ranks_together_give_the_gradient_of_one(rows: list[list[list[int]]], tmp_path: Path) -> None:
    world = len(rows)
    mp.spawn(rank, (world, str(tmp_path / "meet"), str(tmp_path / "found"), rows), nprocs=world)  # type: ignore[attr-defined]
    found = torch.load(tmp_path / "found", weights_only=True)
    for name in ON_RANKS:
        loss, grads = step(name, ROWS, together=False)
        assert found[name][0] == pytest.approx(loss, rel=1e-6), name
        for one, other in zip(found[name][1], grads, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


# in training


def test_towers_learn_which_text_is_whose(tmp_path: Path) -> None:
    recipe = toy_recipe(*TOWERS, BOTH, "stages.0.objective={type: contrastive, same_texts: true}", "stages.0.steps=60",
                        "stages.0.data.0.source.samples=8", "model.head.embedding.scale=90")  # fmt: skip
    recipe = recipe.model_copy(update={"stages": recipe.stages[:1]})
    model = train(recipe, tmp_path / "run", quiet=True)
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    first, last = (float(line.split('"loss": ')[1].split(",")[0]) for line in (log[0], log[-1]))
    assert last < 0.6 * first
    assert float(model.embedder.logit_scale) <= math.log(100) + 1e-6


@pytest.mark.parametrize("causal", ["true", "false"])
def test_texts_of_a_frozen_tower_are_read_once(causal: str, tmp_path: Path) -> None:
    model, toy = towers(f"model.fusion.causal={causal}").eval(), Toy(Toy.Config())
    model.backbone.requires_grad_(False)
    laid = [model.layout(toy[i]) for i in range(10)]
    batch, other = (collate(rows, model.layout) for rows in ([laid[:4], laid[4:8]], [laid[6:], laid[:2]]))
    wanted = [model.embed_batch(one)[2].vectors for one in (batch, other)]
    with kept_texts(model, tmp_path) as cache:
        found = [model.embed_batch(one)[2].vectors for one in (batch, other)]
        assert cache.encoded == len({tuple(one.ids.tolist()) for one in laid})
        found[0].sum().backward()
        assert model.head.projection.weight.grad.any()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert "read" not in vars(model)
    with kept_texts(model, tmp_path) as again:
        assert torch.equal(model.embed_batch(other)[2].vectors, found[1]), "whatever the company"
        assert again.encoded == 0, "what was written is read"
    model.backbone.requires_grad_(True)
    with pytest.raises(ValueError, match="frozen text tower"), kept_texts(model):
        pass


# the front door


def test_pictures_and_texts_are_embedded_as_in_training() -> None:
    model = towers().eval()
    red, blue = png("red", (16, 16)), png("blue", (20, 9))
    found = model.embed(
        [[sm.Image(red)], ["a blue picture"], [sm.Text("a red one, which is longer")], [sm.Image(blue)]]
    )
    assert found.shape == (4, 8)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(4))
    laid = [model.layout(sm.caption(*pair)) for pair in ((red, "a blue picture"), (blue, "a red one, which is longer"))]
    _, pictures, texts = model.embed_batch(collate([laid], model.layout))
    torch.testing.assert_close(found[[0, 3]], pictures.vectors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[[1, 2]], texts.vectors, rtol=1e-4, atol=1e-5)
    assert model.embed([]).shape == (0, 8)
    with pytest.raises(DataError, match="has a picture and text"):
        model.embed([[sm.Image(red), "red"]])


def test_models_say_what_they_cannot_do() -> None:
    refused: list[tuple[str, Callable[[], object]]] = [
        ("makes no embeddings", lambda: toy_model().embed([["red"]])),
        ("writes no text", lambda: towers().generate(["red"])),
        ("writes no text", lambda: towers().rank(["red"], ["blue"])),
        ("writes no text", lambda: towers().logits([["red"]])),
        ("makes none: set it to 'embedding'", lambda: toy_recipe("stages.0.objective=contrastive")),
        ("gives none: set it to 'token'", lambda: toy_recipe("model.head=embedding")),
    ]
    for message, attempt in refused:
        with pytest.raises(ConfigError, match=message):
            attempt()


def test_turns_are_filled_up_to_a_length() -> None:
    model = towers("model.template={document: {end: <|end|>, length: 20}}")
    laid = model.layout(sm.caption(png("red", (8, 8)), "a red picture"))
    assert len(laid) == 20
    assert laid.ids[laid.supervised][-1] == model.tokenizer.id_of("<|end|>")
    assert set(laid.ids[~laid.supervised].tolist()) == {model.tokenizer.pad_id}
    assert len(model.layout(sm.caption(png("red", (8, 8)), "red " * 30))) > 20, "longer ones stay as they are"


def test_a_tied_output_weight_rests_with_the_language_model(tmp_path: Path) -> None:
    model = toy_model("model.connector=pixel-shuffle", BOTH)
    tied = model.backbone.output_weight()
    assert model.head.weight is tied
    assert all(parameter is not tied for parameter in model.head.parameters())
    model = model.double().eval()
    assert model.head.weight.dtype == torch.float64, "it is the backbone's own, wherever that goes"
    own = toy_model("model.connector=pixel-shuffle", "model.head={type: token-and-embedding, token: {tied: false}}")
    assert any(parameter is own.head.weight for parameter in own.head.parameters())
    with torch.no_grad():
        own.head.weight.add_(1)
    own.eval().save(tmp_path / "own")
    assert torch.equal(sm.load(tmp_path / "own").logits([["red"]])[0], own.logits([["red"]])[0])


# checks


def towers_recipe(objective: str = "contrastive") -> Any:
    """The toy recipe's first stage as two towers that write nothing."""
    both = toy_recipe(*TOWERS, BOTH, f"stages.0.objective={objective}")
    return both.from_dict(both.to_dict() | {"stages": [both.stages[0].to_dict()]}).override("model.head=embedding")


@pytest.mark.parametrize("name", ["contrastive", "sigmoid-contrastive"])
def test_two_towers_pass_the_checks(name: str) -> None:
    verdicts = {verdict.name: verdict for verdict in run_checks(towers_recipe(name))}
    assert all(verdict.passed for verdict in verdicts.values()), [str(v) for v in verdicts.values() if not v.passed]
    silent = {name for name, verdict in verdicts.items() if verdict.detail.startswith("not applicable")}
    assert silent == {"no-images", "cached-generation", "overfit"}


def compared_alone(patch: pytest.MonkeyPatch) -> None:
    backward = Spanning.backward
    patch.setattr(Spanning, "backward", lambda self, batches, by: sum(backward(self, [one], by) for one in batches))


def read_across_samples(patch: pytest.MonkeyPatch) -> None:
    within = Attention.within
    patch.setattr(
        Attention, "within", classmethod(lambda cls, documents, causal: within(torch.ones_like(documents), causal))
    )


def pictures_of_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    pictures = EmbeddingHead.pictures
    patch.setattr(EmbeddingHead, "pictures", lambda self, media, batch: pictures(self, media.roll(1, 0), batch))


@pytest.mark.parametrize(
    ("check", "mutation"),
    [("accumulation", compared_alone), ("leak", read_across_samples), ("leak", pictures_of_the_neighbour)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_checks_notice(check: str, mutation: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    compose, verdict = run_checks(towers_recipe(), only=[check])
    assert compose.passed, compose.detail
    assert not verdict.passed, verdict.detail
    assert "Error: " not in verdict.detail, "a crash is not a finding"
