"""Connectors against what their papers say, written down a second time or computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import png, toy_model

import sensorium as sm
from sensorium.config import find_part
from sensorium.connectors.connector import Connector, Instruction
from sensorium.connectors.ldp import eighths
from sensorium.connectors.perceiver import Perceiver, PerceiverLayer
from sensorium.connectors.token_merge import merge
from sensorium.data.batch import collate
from sensorium.errors import ConfigError
from sensorium.fusion.inline import Inline
from sensorium.generation.branches import branch_likelihoods
from sensorium.generation.likelihood import rank
from sensorium.model_config import ModelConfig
from sensorium.sample import Sample, Text


def connector(
    name: str, grid: tuple[int, int] = (6, 5), in_dim: int = 8, out_dim: int = 12, **config: Any
) -> Connector:
    torch.manual_seed(0)
    made = find_part("connector", name)(**config).build(in_dim=in_dim, out_dim=out_dim, grid=grid)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return made.eval()


def features(n: int, tokens: int, dim: int = 8) -> Tensor:
    return torch.randn(n, tokens, dim, generator=torch.Generator().manual_seed(1))


# --- average-pool ---


@torch.no_grad()
def test_pooling_27_to_12_averages_the_windows_that_overlap() -> None:
    pooled = connector("average-pool", (27, 27), 2, 3, side=12)
    given = features(1, 729, 2)
    cells = given.view(27, 27, 2)
    windows = [(27 * i // 12, math.ceil(27 * (i + 1) / 12)) for i in range(12)]
    wanted = torch.stack([cells[a:b, c:d].mean((0, 1)) for a, b in windows for c, d in windows])
    torch.testing.assert_close(pooled(given)[0], pooled.layers(wanted), rtol=1e-5, atol=1e-6)  # type: ignore[operator]


@torch.no_grad()
def test_the_same_weights_serve_few_tokens_and_all() -> None:
    few, all_of_them = (connector("average-pool", (27, 27), 2, 3, side=side) for side in (12, 27))
    mlp = connector("mlp", (27, 27), 2, 3)
    all_of_them.load_state_dict(few.state_dict())
    mlp.load_state_dict(few.state_dict())
    given = features(2, 729, 2)
    assert torch.equal(all_of_them(given), mlp(given)), "pooled to its own size a map is what it was"
    assert few(given).shape == (2, 144, 3)


@pytest.mark.parametrize("name", ["average-pool", "ldp-v2", "c-abstractor"])
def test_a_map_is_not_averaged_up(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: a grid of 4 x 4 cannot be averaged to side 12; lower it"):
        find_part("connector", name)().out_tokens(16, (4, 4))  # type: ignore[attr-defined]


# --- c-abstractor and ldp ---


def normed(x: Tensor, weights: dict[str, Tensor], name: str, eps: float) -> Tensor:
    """Each place of a map by itself, over its channels."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    scale, shift = (weights[f"{name}.{kind}"].view(1, -1, 1, 1) for kind in ("weight", "bias"))
    return (x - mean) / (variance + eps).sqrt() * scale + shift


def excited(x: Tensor, weights: dict[str, Tensor], name: str, act: Any, gate: Any) -> Tensor:
    down, up = (weights[f"{name}.{layer}.weight"].flatten(1) for layer in ("down", "up"))
    inner = act(x.mean((2, 3)) @ down.T + weights[f"{name}.down.bias"])
    return x * gate(inner @ up.T + weights[f"{name}.up.bias"])[..., None, None]


@torch.no_grad()
def test_the_c_abstractor_by_its_description() -> None:
    made = connector("c-abstractor", (6, 6), side=3, width=12, depth=2)
    w = made.state_dict()
    given = features(2, 37)  # a class token before the map
    hidden = given[:, 1:].transpose(1, 2).reshape(2, 8, 6, 6) + w["positions"]
    for stage in ("before", "after"):
        for number in range(2):
            name, x = f"{stage}.{number}", hidden
            y = F.silu(normed(F.conv2d(x, w[f"{name}.widen.0.weight"]), w, f"{name}.widen.1", 1e-6))
            y = F.conv2d(y, w[f"{name}.filter.0.weight"], padding=1, groups=12)
            y = F.silu(normed(y, w, f"{name}.filter.1", 1e-6))
            y = excited(y, w, f"{name}.excite", F.silu, torch.sigmoid)
            y = normed(F.conv2d(y, w[f"{name}.project.0.weight"]), w, f"{name}.project.1", 1e-6)
            if stage == "before" and number == 0:
                x = normed(F.conv2d(x, w[f"{name}.shortcut.0.weight"]), w, f"{name}.shortcut.1", 1e-6)
            hidden = F.silu(x + y)
        if stage == "before":
            hidden = hidden.unflatten(2, (3, 2)).unflatten(4, (3, 2)).mean((3, 5))
    tokens = hidden.flatten(2).transpose(1, 2)
    tokens = F.silu(tokens @ w["layers.0.weight"].T + w["layers.0.bias"]) @ w["layers.2.weight"].T + w["layers.2.bias"]
    torch.testing.assert_close(made(given), tokens, rtol=1e-4, atol=1e-5)
    assert w["before.0.excite.down.weight"].shape[0] == 2, "a quarter of what enters"
    assert w["before.1.excite.down.weight"].shape[0] == 3


@torch.no_grad()
def test_ldp_by_its_description() -> None:
    made = connector("ldp", (6, 5), out_dim=16)
    w = made.state_dict()
    given = features(2, 30)
    tokens = F.gelu(given @ w["layers.0.weight"].T + w["layers.0.bias"]) @ w["layers.2.weight"].T + w["layers.2.bias"]
    x = tokens.transpose(1, 2).reshape(2, 16, 6, 5)
    for number, stride in enumerate((1, 2)):
        name = f"blocks.{number}"
        y = F.conv2d(x, w[f"{name}.filter.0.weight"], padding=1, stride=stride, groups=16)
        y = F.hardswish(normed(y, w, f"{name}.filter.1", 1e-5))
        y = excited(y, w, f"{name}.excite", F.relu, F.hardsigmoid)
        y = normed(F.conv2d(y, w[f"{name}.project.0.weight"]), w, f"{name}.project.1", 1e-5)
        x = x + y if stride == 1 else y
    torch.testing.assert_close(made(given), x.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)
    config: Any = made.config
    assert config.out_grid(30, (6, 5)) == (3, 3)
    assert (config.out_tokens(576, (24, 24)), config.out_tokens(729, (27, 27))) == (144, 196)
    assert [eighths(channels) for channels in (4, 16, 512, 43, 11)] == [8, 16, 512, 40, 16]


@torch.no_grad()
def test_ldp_v2_by_its_description() -> None:
    made = connector("ldp-v2", (6, 6), side=3)
    w = made.state_dict()
    given = features(2, 36)
    tokens = F.gelu(given @ w["layers.0.weight"].T + w["layers.0.bias"]) @ w["layers.2.weight"].T + w["layers.2.bias"]
    x = tokens.transpose(1, 2).reshape(2, 12, 3, 2, 3, 2).mean((3, 5))
    x = x + F.conv2d(x, w["positions.weight"], w["positions.bias"], padding=1, groups=12)
    torch.testing.assert_close(made(given), x.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


# --- token-merge ---


def merged_by_hand(tokens: np.ndarray, wanted: int) -> list[tuple[np.ndarray, int]]:
    """ToMe's five steps, token by token."""
    kept = [(token.copy(), 1) for token in tokens]
    while len(kept) > wanted:
        offers = []
        for i in range(0, len(kept), 2):
            likeness = [float(kept[i][0] @ kept[j][0] / np.linalg.norm(kept[i][0]) / np.linalg.norm(kept[j][0]))
                        for j in range(1, len(kept), 2)]  # fmt: skip
            best = int(np.argmax(likeness))
            offers.append((likeness[best], i, 2 * best + 1))
        gone = sorted(offers, key=lambda offer: -offer[0])[: min(len(kept) - wanted, len(kept) // 2)]
        for _, i, j in gone:
            (a, n), (b, m) = kept[i], kept[j]
            kept[j] = (a * n + b * m) / (n + m), n + m
        kept = [token for place, token in enumerate(kept) if place not in {i for _, i, _ in gone}]
    return kept


@pytest.mark.parametrize(("entering", "leaving"), [(30, 21), (30, 4), (31, 6), (5, 1), (3, 3), (3, 9)])
def test_merging_token_by_token(entering: int, leaving: int) -> None:
    given = features(3, entering)
    merged, sizes = merge(given, leaving)
    for tokens, found, counts in zip(given.numpy(), merged, sizes, strict=True):
        wanted = merged_by_hand(tokens.astype(np.float64), leaving)
        assert counts[:, 0].tolist() == [size for _, size in wanted]
        np.testing.assert_allclose(found.numpy(), np.stack([token for token, _ in wanted]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((merged * sizes).sum(1), given.sum(1), rtol=1e-4, atol=1e-4)
    assert (sizes.sum(1) == entering).all(), "nothing is lost"


def test_what_is_alike_is_merged_first() -> None:
    given = features(1, 8)
    given[0, 4] = 3 * given[0, 1]
    merged, sizes = merge(given, 7)
    assert sizes[0, :, 0].tolist() == [1, 2, 1, 1, 1, 1, 1]
    torch.testing.assert_close(merged[0, 1], 2 * given[0, 1])


# --- tokens that have places ---


@pytest.mark.parametrize(
    ("name", "config", "grid"),
    [("linear", {}, (6, 6)), ("mlp", {}, (6, 6)), ("pixel-shuffle", {}, (3, 3)), ("average-pool", {"side": 2}, (2, 2)),
     ("ldp", {}, (3, 3)), ("ldp-v2", {"side": 3}, (3, 3)), ("token-merge", {"tokens": 5}, (1, 1)),
     ("c-abstractor", {"side": 2, "width": 8, "depth": 1}, (2, 2))],
)  # fmt: skip
def test_located_tokens_are_those_that_leave(name: str, config: dict[str, Any], grid: tuple[int, int]) -> None:
    made = connector(name, (6, 6), **config)
    given = features(2, 37)
    tokens = made.located(given).tokens
    assert tokens.shape == (2, *grid, 12)
    if grid != (1, 1):
        assert torch.equal(tokens.flatten(1, 2), made(given[:, 1:])), "a class token has no place"


# --- what is asked ---


@torch.no_grad()
def test_an_instruction_queries_like_latents_and_does_not_leave() -> None:
    sizes = {"depth": 2, "num_heads": 2, "head_dim": 4}
    asked: Any = connector("perceiver", latents=3, instruction_tokens=4, **sizes)
    given, text = features(2, 30), features(2, 4, 12)
    mask = torch.tensor([[True] * 30, [True] * 20 + [False] * 10])
    found = asked(given, mask, Instruction(text, torch.ones(2, 4, dtype=torch.bool)))
    for item in range(2):
        plain: Any = connector("perceiver", latents=7, **sizes)
        weights = {k: v for k, v in asked.state_dict().items() if not k.startswith("text_projection")}
        latents = torch.cat([asked.latents, asked.text_projection(text[item])])
        plain.load_state_dict(weights | {"latents": latents})
        torch.testing.assert_close(found[item], plain(given[item, None], mask[item, None])[0, :3], rtol=1e-5, atol=1e-5)
    half = torch.tensor([[True, True, False, False]] * 2)
    masked = asked(given, mask, Instruction(text, half))
    shorter = asked(given, mask, Instruction(text[:, :2], half[:, :2]))
    torch.testing.assert_close(masked, shorter, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(asked(given), asked(given, None, Instruction(text, half & False)), rtol=1e-5, atol=1e-6)


def asking(*lines: str) -> Any:
    return toy_model("model.connector.instruction_tokens=4", "model.context=120", *lines)


def test_what_is_asked_is_what_stands_before_anything_supervised() -> None:
    model = asking()
    turns = [("what is it?", "red"), ("and why?", "it is")]
    first, blank = sm.chat([png("red", (16, 16))], turns), sm.caption(png("blue", (16, 16)), "a blue picture")
    second = Sample((Text("look at"), sm.Image(png("red", (16, 16))), sm.Image(png("red", (16, 16))), Text("now")))
    laid = [model.layout(sample) for sample in (first, blank, second)]
    ids, mask = collate([laid[:2], laid[2:]], model.layout).instructions(9)
    asked = [row[known].tolist() for row, known in zip(ids, mask, strict=True)]
    encode, mark = model.tokenizer.encode, model.tokenizer.markers
    question = [*mark("<|user|>"), *encode("what is it?"), *mark("<|assistant|>")]
    both = [*mark("<|user|>"), *encode("look at"), *encode("now")]
    assert asked == [question[:9], [], both[:9], both[:9]]
    short, _ = collate([laid[:2], laid[2:]], model.layout).instructions(2)
    assert short[0].tolist() == question[:2]


@torch.no_grad()
def test_the_question_reaches_the_picture_and_answers_do_not() -> None:
    model = asking()
    picture = png("red", (32, 16))

    def seen(*turns: tuple[str, str]) -> Tensor:
        laid = [model.layout(sm.chat([picture], turns)), model.layout(sm.chat([picture], [("left?", "no")]))]
        return model.media(collate([laid], model.layout))

    before = seen(("why?", "so"), ("and then?", "no"))
    assert torch.equal(before, seen(("why?", "never"), ("what else?", "no")))
    changed = seen(("how?", "so"), ("and then?", "no"))
    own = len(before) // 2
    assert not torch.equal(before[:own], changed[:own])
    assert torch.equal(before[own:], changed[own:]), "nor does another sample's"


def test_answers_that_branch_are_those_that_stand_alone() -> None:
    model = asking("model.connector.instruction_tokens=40")
    prompt = sm.chat([png("red", (32, 16))], [("which one of the four is it?", "")])
    prompt = replace(prompt, segments=prompt.segments[:-1])
    answers = ["red", "green as grass", "red or blue"]
    branched = [total / count for total, count in branch_likelihoods(model, prompt, answers)]
    assert branched == pytest.approx(rank(model, prompt, answers), abs=1e-5)


def test_instructions_need_the_width_of_the_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_model().config.to_dict() | {"connector": {"type": "perceiver", "instruction_tokens": 4}}
    monkeypatch.setattr(Inline.Config, "media_dim", lambda self, backbone, encoder: encoder)
    with pytest.raises(ConfigError, match="as wide as the backbone's embeddings, 32; with fusion 'inline' it is 16"):
        ModelConfig.from_dict(config)


@pytest.mark.parametrize("width", [16, 96, 768])
@torch.no_grad()
def test_queries_and_keys_differ_enough_to_choose_from_the_start(width: int) -> None:
    torch.manual_seed(0)
    layer = PerceiverLayer(Perceiver.Config(num_heads=2, head_dim=width // 2), width)
    normed = torch.randn(400, width)
    q, k = (linear(normed)[:, : width // 2] for linear in (layer.to_q, layer.to_kv))
    assert 0.8 < float((q @ k.T / (width // 2) ** 0.5).std()) < 1.25, "all but uniform attention if far below"
