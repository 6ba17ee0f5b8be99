"""Diffusion, priors and painters: against hand calculation, in training, and as users meet them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import Toy, png, toy_recipe

import sensorium as sm
from sensorium.data.batch import Batch, collate
from sensorium.diffusion import CLEAN, Parted, Prediction, Schedule, asked, ddim, dice_of, guided, normal, understood
from sensorium.errors import ConfigError, DataError
from sensorium.generation.drawing import draw, imagine, said, slerp
from sensorium.latents.autoencoder import Finer
from sensorium.latents.latents import as_pixels, as_tiles
from sensorium.objectives.objective import Objective
from sensorium.priors.prior import Wording
from sensorium.recipe import Recipe
from sensorium.training.trainer import train

KINDS: tuple[Prediction, ...] = ("x0", "epsilon", "v")
SMALL = "{type: diffusion, width: 32, depth: 2, num_heads: 2, sampling_steps: 8}"
LATENTS = "{type: autoencoder, halvings: 2, channels: 4, width: 32}"
PARTS = (
    "model.tiling=whole",
    "model.connector=mean-mlp",
    "model.fusion={type: towers, joint_dim: 16}",
    "model.backbone={type: text-tower, width: 32, depth: 2, positions: 96}",
    "model.head=embedding",
    f"model.prior={SMALL}",
    f"model.painter={SMALL}",
    f"model.painter.latents={LATENTS}",
)
CAPTIONS = (1, 6, 11, 16)
"""Of the toy's samples, in four colours."""


def unclip(*more: str) -> Any:
    model = toy_recipe().model.override(*(item.removeprefix("model.") for item in (*PARTS, *more)))
    torch.manual_seed(0)
    return sm.model.compose(model)


def batch_of(model: Any, *indices: int) -> Batch:
    source = Toy(Toy.Config())
    return collate([[model.layout(source[i])] for i in indices or CAPTIONS], model.layout)


def objective(name: str) -> Any:
    return Objective.Config.model_validate(name).build()


def recipe() -> Recipe:
    """Towers, latents, prior and painter, each a stage of few steps on the toy."""
    known = toy_recipe().to_dict()
    stage = {**known["stages"][0], "steps": 2, "length": 128, "rows": 2, "data": [{"source": "toy-captions"}]}
    stages = [
        {**stage, "name": "contrast", "objective": "contrastive", "trainable": TOWERS},
        {**stage, "name": "latents", "objective": "reconstruction", "trainable": ["painter"]},
        {**stage, "name": "prior", "objective": "embedding-prior", "trainable": ["prior"]},
        {**stage, "name": "decode", "objective": "denoising", "trainable": ["painter"]},
    ]
    model = toy_recipe().model.override(*(item.removeprefix("model.") for item in PARTS)).to_dict()
    return Recipe.from_dict({**known, "model": model, "stages": stages, "save_every": 3})


TOWERS = ["encoder", "connector", "fusion", "backbone", "head"]


class ToyCaptions(Toy, name="toy-captions"):
    """The toy's captions alone."""

    class Config(Toy.Config):
        samples: int = 12

    def __getitem__(self, index: int) -> sm.Sample:
        return super().__getitem__(5 * index + 1)


def test_cosine_schedule_by_hand() -> None:
    schedule = Schedule.cosine(1000)
    for t in (0, 249, 499):  # before any step is capped, alpha_bar is the curve itself (2102.09672, equation 17)
        curve = [math.cos((u / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (t + 1, 0)]
        assert schedule.alpha_bars[t].item() == pytest.approx(curve[0] / curve[1], rel=1e-12)
    assert schedule.alpha_bars[-1].item() == pytest.approx(schedule.alpha_bars[-2].item() * 0.001, rel=1e-9)
    snr = schedule.alpha_bars / (1 - schedule.alpha_bars)
    assert (snr.diff() < 0).all()
    signal, spread = schedule.levels(torch.tensor([0, 999, CLEAN]), torch.zeros(3, 2, dtype=torch.float64))
    torch.testing.assert_close(signal**2 + spread**2, torch.ones(3, 1, dtype=torch.float64))
    assert (signal[-1].item(), spread[-1].item()) == (1.0, 0.0)


def test_descent_begins_at_the_noisiest_and_ends_clean() -> None:
    schedule = Schedule.cosine(10)
    assert schedule.descent(5) == [9, 7, 5, 3, 1, CLEAN]
    assert schedule.descent(1) == [9, CLEAN]
    assert schedule.descent(99) == [*range(9, -1, -1), CLEAN]


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_taken_apart_as_they_were_asked(kind: Prediction) -> None:
    x0, noise = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signal, spread = Schedule.cosine(1000).levels(torch.tensor([0, 300, 700, 990]), x0)
    noisy = signal * x0 + spread * noise
    parted = understood(kind, asked(kind, Parted(x0, noise), signal, spread), noisy, signal, spread)
    torch.testing.assert_close(parted.x0, x0)
    torch.testing.assert_close(parted.noise, noise)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 7])
def test_ddim_with_a_perfect_guess_recovers_the_data(kind: Prediction, count: int) -> None:
    x0, start = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    schedule = Schedule.cosine(100)

    def perfect(noisy: Tensor, times: Tensor) -> Tensor:
        signal, spread = schedule.levels(times, noisy)
        return asked(kind, Parted(x0, (noisy - signal * x0) / spread), signal, spread)

    torch.testing.assert_close(ddim(perfect, start, schedule, kind, count), x0)


def test_guidance_of_one_is_the_condition_alone() -> None:
    def told(noisy: Tensor, times: Tensor) -> Tensor:
        return noisy + 1

    def free(noisy: Tensor, times: Tensor) -> Tensor:
        return noisy * 0

    noisy, times = torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)
    assert guided(told, free, 1.0) is told
    for scale in (0.0, 1.0, 3.0):  # free + scale * (told - free)
        torch.testing.assert_close(guided(told, free, scale)(noisy, times), torch.full((2, 3), 2 * scale))


def test_noise_goes_by_names_and_seed() -> None:
    rows = normal(dice_of(["a", "b"], 0), (4,), torch.zeros(1))
    assert torch.equal(normal(dice_of(["b"], 0), (4,), torch.zeros(1))[0], rows[1])
    assert not torch.equal(normal(dice_of(["b"], 1), (4,), torch.zeros(1))[0], rows[1])
    assert normal([], (4,), rows).shape == (0, 4)


def test_slerp_by_hand() -> None:
    one, other = torch.eye(2, dtype=torch.float64)
    for share in (0.0, 0.25, 1.0):
        angle = share * math.pi / 2
        torch.testing.assert_close(slerp(one, other, share), torch.tensor([math.cos(angle), math.sin(angle)]).double())
    torch.testing.assert_close(slerp(one, one, 0.5), one)


@pytest.mark.parametrize("latents", [LATENTS, "{type: pixels, side: 16}"])
def test_latents_are_as_large_as_announced(latents: str) -> None:
    coder = unclip(f"model.painter.latents={latents}").painter.latents
    tiles = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for n in (0, 3):
        found = coder.encode(tiles[:n])
        assert found.shape == (n, *coder.config.shape((16, 16)))
        assert coder.decode(found).shape == (n, 3, 16, 16)
        torch.testing.assert_close(coder.settle(found), found)
    assert torch.equal(as_tiles(as_pixels(tiles, torch.empty(0))), tiles)
    x = torch.randn(2, 12, 3, 4)
    assert torch.equal(Finer()(x), torch.nn.PixelShuffle(2)(x))
    if not coder.learned:
        assert torch.equal(as_tiles(coder.decode(coder.encode(tiles))), tiles)


def test_prior_does_not_read_padding_nor_a_text_that_is_withheld() -> None:
    model = unclip()
    prior, dice = model.prior, torch.Generator().manual_seed(0)
    noisy, times = torch.randn(1, 16, generator=dice), torch.tensor([400])
    words, real = torch.randn(1, 5, 32, generator=dice), torch.tensor([[True, True, True, False, False]])
    vectors = torch.randn(1, 16, generator=dice)
    yes, no = torch.tensor([True]), torch.tensor([False])

    def said_of(changed: Tensor, kept: Tensor) -> Tensor:
        with torch.no_grad():
            return prior(noisy, times, Wording(vectors, changed, real), kept)

    whole = said_of(words, yes)
    torch.testing.assert_close(said_of(torch.cat([words[:, :3], words[:, 3:] + 9], 1), yes), whole)
    with torch.no_grad():
        short = prior(noisy, times, Wording(vectors, words[:, :3], real[:, :3]), yes)
    torch.testing.assert_close(short, whole)
    assert not torch.allclose(said_of(words + 1, yes), whole)
    assert torch.equal(said_of(words + 1, no), said_of(words, no))


@pytest.mark.parametrize(
    ("name", "part", "goal"),
    [("reconstruction", "painter", 0.05), ("embedding-prior", "prior", 0.15), ("denoising", "painter", 0.25)],
)
def test_one_batch_is_learned_by_heart(name: str, part: str, goal: float) -> None:
    model = unclip()
    loss, batch = objective(name), batch_of(model)
    optimiser = torch.optim.Adam(getattr(model, part).parameters(), lr=3e-3)
    found = []
    for step in range(200):
        torch.manual_seed(step)  # other steps and noise each time
        one = loss(model, batch)
        optimiser.zero_grad()
        (one.total / one.count).backward()
        optimiser.step()
        found.append(float(one.total.detach()) / one.count)
    start, end = sum(found[:5]) / 5, sum(found[-20:]) / 20
    assert end < goal * max(1.0, start), f"from {start:.3f} to {end:.3f}"
    assert all(weight.grad is None for name, weight in model.named_parameters() if not name.startswith(part))


def test_what_is_drawn_depends_on_the_prompt_and_the_seed() -> None:
    model = unclip().eval()
    with torch.no_grad():
        for weight in model.painter.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    text, picture = said("a red picture"), sm.Sample((sm.Image(png("red", (16, 16))),))
    both = draw(model, [picture, text, said("a blue one")], count=2)
    assert [tiles.shape for tiles in both] == [(2, 3, 16, 16)] * 3
    assert all(
        torch.equal(a, b) for a, b in zip(both, draw(model, [picture, text, said("a blue one")], 2), strict=True)
    )
    assert not torch.equal(both[0][0], both[0][1])
    assert not torch.equal(both[1], both[2])
    assert not torch.equal(both[1], draw(model, [text], 2, seed=1)[0])
    assert torch.equal(draw(model, [text], 2)[0], both[1]), "a picture beside it changes nothing"
    assert [one.size for one in model.draw([["a red picture"]], count=2)[0]] == [(16, 16)] * 2
    assert draw(model, []) == []
    with pytest.raises(DataError, match="has a picture and text"):
        draw(model, [sm.Sample((*picture.segments, *text.segments))])


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = train(recipe(), tmp_path / "whole", quiet=True, device="cpu")
    train(recipe(), tmp_path / "broken", quiet=True, stop_after=7, device="cpu")
    resumed = train(recipe(), tmp_path / "broken", quiet=True, resume=True, device="cpu")
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in whole.state_dict().items())
    loaded = sm.load(tmp_path / "whole")
    assert torch.equal(draw(loaded, [said("red")])[0], draw(whole, [said("red")])[0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("head=token", "prior 'diffusion' goes by embeddings and head 'token' makes none"),
        ("painter.latents.halvings=5", "16x16 pixels cannot be halved 5 times"),
        ("painter.patch_size=3", "latents of 4x4 in patches of 3"),
        ("prior.width=31", "width 31 is not a multiple of num_heads 2"),
        ("painter={type: diffusion, width: 33, num_heads: 2}", "width 33 is not a multiple of num_heads 2"),
    ],
)
def test_what_does_not_fit_is_named(change: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        unclip(f"model.{change}")


def test_objectives_want_their_parts_and_drawing_a_painter() -> None:
    with pytest.raises(ConfigError, match=r"'reconstruction' teaches model.painter, which is 'none'"):
        recipe().override("model.painter=none")
    pixels = unclip("model.painter.latents={type: pixels, side: 16}")
    with pytest.raises(ConfigError, match="latents 'pixels' learn nothing"):
        objective("reconstruction")(pixels, batch_of(pixels))
    with pytest.raises(ConfigError, match="the model draws nothing"):
        unclip("model.painter=none").draw([["red"]])


def test_a_painter_wants_one_tile() -> None:
    model = unclip("model.tiling={type: grid, max_rows: 2, max_columns: 2}")
    source = Toy(Toy.Config())
    laid = [[model.layout(source[6])], [model.layout(source[3])]]
    with pytest.raises(DataError, match="a painter paints one picture of one tile"):
        objective("denoising")(model, collate(laid, model.layout))


def test_without_a_prior_the_text_itself_is_painted() -> None:
    model = unclip("model.prior=none").eval()
    torch.testing.assert_close(imagine(model, [said("red")], 1, 0), model.embed([["red"]]))
