"""Diffusion, priors and painters: against hand calculation, in training, and as users meet them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor
from toy import Toy, png, toy_recipe
from typer.testing import CliRunner

import sensorium as sm
from sensorium.checks import run_checks
from sensorium.checks.full_size import full_size
from sensorium.cli import app
from sensorium.data.batch import Batch, collate
from sensorium.data.images import open_picture
from sensorium.data.source import Source
from sensorium.data.worlds.render import picture
from sensorium.diffusion import CLEAN, Parted, Prediction, Schedule, asked, ddim, dice_of, guided, normal, understood
from sensorium.errors import ConfigError, DataError
from sensorium.evaluation.sight import look
from sensorium.evaluation.suite import Suite
from sensorium.evaluation.suites import draws
from sensorium.generation.drawing import draw, imagine, said, slerp
from sensorium.latents.autoencoder import Finer
from sensorium.latents.latents import as_pixels, as_tiles
from sensorium.objectives.objective import Objective
from sensorium.priors.prior import Wording
from sensorium.recipe import Recipe, find_recipe
from sensorium.recipes.unclip import world
from sensorium.training.optimisation import make_optimiser, set_trainable
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
UNET = "model.painter={type: unet, latents: {type: pixels, side: 16}, width: 8, multiples: [1, 2], head_dim: 8}"
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


@pytest.mark.parametrize("latents", [LATENTS, "{type: pixels, side: 16}", "{type: pixels, side: 16, scale: 3}"])
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
    ("name", "part", "goal", "changes"),
    [
        ("reconstruction", "painter", 0.1, ()),
        ("embedding-prior", "prior", 0.25, ()),
        ("denoising", "painter", 0.35, ()),
        ("denoising", "painter", 0.5, (UNET.replace("width: 8", "width: 32"),)),
    ],
)
def test_one_batch_is_learned_by_heart(name: str, part: str, goal: float, changes: tuple[str, ...]) -> None:
    model = unclip(*changes)
    loss, batch = objective(name), batch_of(model)
    optimiser = torch.optim.Adam(getattr(model, part).parameters(), lr=3e-3)
    found = []
    for step in range(100):
        torch.manual_seed(step)  # other steps and noise each time
        one = loss(model, batch)
        optimiser.zero_grad()
        (one.total / one.count).backward()
        optimiser.step()
        found.append(float(one.total.detach()) / one.count)
    start, end = sum(found[:5]) / 5, sum(found[-20:]) / 20
    assert end < goal * max(1.0, start), f"from {start:.3f} to {end:.3f}"
    assert all(weight.grad is None for name, weight in model.named_parameters() if not name.startswith(part))


def test_a_unet_is_what_the_paper_says() -> None:
    """Levels, skips and attention, told by their shapes; and every way by which an embedding steers is open."""
    model = unclip(UNET.replace("multiples: [1, 2]", "multiples: [1, 2, 3], depth: 2, attention: [8, 4]"))
    unet: Any = model.painter
    down, up = ([(b.first.in_channels, b.first.out_channels) for b in blocks] for blocks in (unet.down, unet.up))
    assert down == [(8, 8), (8, 8), (8, 8), (8, 16), (16, 16), (16, 16), (16, 24), (24, 24)]
    assert up == [
        *((24 + 24, 24), (24 + 24, 24), (24 + 16, 24), (24, 24)),
        *((24 + 16, 16), (16 + 16, 16), (16 + 8, 16), (16, 16)),
        *((16 + 8, 8), (8 + 8, 8), (8 + 8, 8)),
    ]
    attends = [block.attention is not None for block in (*unet.down, *unet.middle, *unet.up)]
    assert (
        attends
        == [*[False] * 3, True, True, False, True, True, True, False] + [True] * 3 + [False] + [True] * 3 + [False] * 4
    )
    noisy, times = torch.randn(2, 3, 16, 16), torch.tensor([10, 900])
    vectors, kept = torch.randn(2, 16), torch.ones(2, dtype=torch.bool)
    with torch.no_grad():
        assert not unet(noisy, times, vectors, kept).any(), "it begins with nothing"
        for weight in unet.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
        found = unet(noisy, times, vectors, kept)
        assert torch.equal(unet(noisy, times, vectors + 1, ~kept), unet(noisy, times, vectors, ~kept)), "withheld"
        for path in (unet.steer, unet.context):
            before, path.weight = path.weight, torch.nn.Parameter(torch.zeros_like(path.weight))
            assert not torch.allclose(unet(noisy, times, vectors, kept), found)
            path.weight = before


def test_muon_takes_the_kernels_of_a_unet_s_levels() -> None:
    model = unclip(UNET)
    stage = recipe().stages[-1].model_copy(update={"muon_lr": 1e-3})
    set_trainable(model, stage)
    adamw, *muons = make_optimiser(model, stage).members
    held = [
        {id(weight) for member in members for group in member.param_groups for weight in group["params"]}
        for members in ([adamw], muons)
    ]
    levels = re.compile(r"(down|middle|up)\.")
    for name, weight in model.painter.named_parameters():
        assert (id(weight) in held[1]) == (levels.match(name) is not None and weight.ndim > 1), name
        assert (id(weight) in held[0]) != (id(weight) in held[1]), name


def test_a_unet_refuses_maps_that_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match="cannot be halved 5 times"):
        unclip(UNET.replace("multiples: [1, 2]", "multiples: [1, 1, 1, 1, 1, 1]"))
    with pytest.raises(ConfigError, match="do not split into heads of head_dim 5"):
        unclip(UNET.replace("head_dim: 8", "head_dim: 5"))


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


@pytest.mark.parametrize("name", ["gradients", "accumulation", "frozen", "checkpoint"])
def test_the_invariants_hold(name: str) -> None:
    verdicts = list(run_checks(recipe(), only=[name], samples=8))
    assert all(verdict.passed for verdict in verdicts), "\n".join(map(str, verdicts))
    assert verdicts[-1].name == name


def test_the_full_size_is_that_of_the_paper() -> None:
    said_of = dict(re.findall(r"(encoder|prior|painter) ([\d.]+) [GM]", full_size(find_recipe("unclip"))))
    assert float(said_of["encoder"]) == pytest.approx(632, rel=0.01)  # ViT-H (2010.11929, table 1)
    assert float(said_of["prior"]) == pytest.approx(1.2, rel=0.05)  # "1B"
    assert float(said_of["painter"]) == pytest.approx(2.3, rel=0.05)  # 3.5 billion less the text encoder's 1.2


def test_the_judge_sees_what_is_there() -> None:
    source: Any = Source.Config.model_validate(world(split="unseen-scenes")).build()
    for index in range(24):
        (thing,) = source.scene(index).objects
        tile = np.asarray(picture(source.scene(index), (64, 64))).transpose(2, 0, 1)
        assert look(tile, source.config.colours, source.config.shapes) == (thing.colour, thing.shape)
    assert look(np.full((3, 64, 64), 90, np.uint8), ("red",), ("circle",)) is None


def test_the_suite_counts_what_the_judge_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    model = unclip().eval()
    small = world(size=[64, 64])
    suite = Suite.Config.from_dict({"type": "draws", "world": small, "texts": 6, "variations": 4}).build()
    asked, _ = suite._asked("unseen-scenes")
    real = torch.stack([torch.from_numpy(np.array(open_picture(p.picture.images[0].source))) for p in asked])
    real = real.permute(0, 3, 1, 2)
    monkeypatch.setattr(draws, "paint", lambda model, vectors, *rest, **more: real[: len(vectors)])
    metrics = suite.run(model).metrics
    assert metrics["real/both"].value == 1 > metrics["at-best/shape"].value, "latents that have learned nothing"
    assert {name: metrics[f"text/{name}"].value for name in ("colour", "shape", "both")} == {
        "colour": 1, "shape": 1, "both": 1}  # fmt: skip
    assert metrics["variation/both"].n == 4
    assert metrics["variation/likeness"].value == pytest.approx(1, abs=1e-5)
    assert metrics["other/likeness"].value < 1
    assert metrics["chance/both"].value == pytest.approx(1 / 24)
    assert metrics["unseen-combinations/text/both"].value < 1, "those are other texts"
    blank = torch.full_like(real, 90)
    monkeypatch.setattr(draws, "paint", lambda model, vectors, *rest, **more: blank[: len(vectors)])
    assert suite.run(model, blind=True).metrics["text/both"].value == 0
    assert "variation/both" not in suite.run(model, blind=True).metrics


def test_the_suite_wants_single_objects() -> None:
    with pytest.raises(ConfigError, match="the judge knows single objects"):
        Suite.Config.from_dict({"type": "draws", "world": world(objects=[1, 2])})


def test_draw_writes_a_row_for_each_prompt(tmp_path: Path) -> None:
    unclip().save(tmp_path / "model")
    like = tmp_path / "red.png"
    like.write_bytes(png("red", (32, 32)))
    out = tmp_path / "out.png"
    asked = ["--text", "a red one", "--text", "blue", "--like", str(like), "--count", "3", "--steps", "2"]
    result = CliRunner().invoke(app, ["draw", str(tmp_path / "model"), *asked, "--out", str(out)])
    assert result.exit_code == 0, result.output
    with PILImage.open(out) as sheet:
        assert sheet.size == (4 * 18 + 2, 3 * 18 + 2)
        assert sheet.getpixel((3, 3 + 2 * 18)) == (255, 0, 0), "the row of a picture begins with it"
    between = ["--like", str(like), "--like", str(like), "--between", "--count", "2", "--steps", "2"]
    result = CliRunner().invoke(app, ["draw", str(tmp_path / "model"), *between, "--out", str(out)])
    assert result.exit_code == 0, result.output
    with PILImage.open(out) as sheet:
        assert sheet.size == (4 * 18 + 2, 18 + 2)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], "nothing to draw; give --text TEXT or --like PICTURE"),
        (["--text", " "], "nothing to draw"),
        (["--text", "red", "--text", ""], "a text is empty"),
        (["--text", "red", "--out", "drawn.jpg"], "name a .png file"),
        (["--like", "missing.png"], "missing.png"),
        (["--like", "red.png", "--between"], "--like twice"),
        (["--text", "red"], "the model draws nothing"),
    ],
)
def test_wrong_orders_say_what_to_do(
    words: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("red.png").write_bytes(png("red", (32, 32)))
    unclip("model.painter=none", "model.prior=none").save("model")
    out = [] if "--out" in words else ["--out", "drawn.png"]
    result = CliRunner().invoke(app, ["draw", "model", *words, *out])
    assert result.exit_code == 2
    assert found in " ".join(result.output.split())
    assert not Path("drawn.png").exists()


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
