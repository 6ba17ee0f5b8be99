"""What every registered part owes, asked of everything that is registered: new parts are tested by being there.

A part that cannot be built from its defaults says how it can in `Config.example()`; None there skips it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy import png, toy_model

import sensorium.curation.step  # noqa: F401  the families of curation
from sensorium.assembly.assembly import TileTokens
from sensorium.backbones.backbone import Attention
from sensorium.backbones.decoder import Decoder
from sensorium.config import PartConfig, find_part, part_families, part_names
from sensorium.connectors.connector import Connector
from sensorium.data.batch import Batch, Pictures, Regions, collate
from sensorium.data.tiling import Cut, TilePlan, Tiling
from sensorium.diffusion import dice_of
from sensorium.documents.document import Figure, Picture, Reading
from sensorium.documents.filter import apply
from sensorium.errors import ConfigError
from sensorium.objectives.objective import StepObjective
from sensorium.priors.prior import Wording
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer

VOCAB, DIM, GRID, IN = 40, 32, (4, 4), 16
TILES, MEDIA, SEEN = 5, 32, 3
PAINTED, SEED = (24, 16), 1
"""The size of what is painted, and a seed by which diffusion withholds the condition of some items alone."""
CUTS = (
    Cut((60, 20), TilePlan(1, 2, thumbnail=True, padded=True)),
    Cut((8, 8), TilePlan()),
    Cut((30, 40), TilePlan(2, 2, thumbnail=True, padded=True)),
)
PATCHES = (Cut((60, 20), TilePlan(2, 4)), Cut((8, 8), TilePlan(2, 2)), Cut((30, 40), TilePlan(4, 2)))
MAPS = ((GRID, CUTS), ((1, 1), PATCHES))
"""What assemblies are for: tiles with a feature map each, or tiles that are patches."""
SIZES = ((1, 1), (16, 16), (17, 16), (100, 20), (20, 100), (640, 480), (3, 999))
TEXTS = ("plain words", "Ünïcode 漢字 🙂", "two  spaces\nand a line", "<|user|>injected<|end|>", "1 + 1 = 2")


def names(family: str) -> list[Any]:
    return [pytest.param(name, id=f"{family}:{name}") for name in part_names(family)]


def example(family: str, name: str) -> PartConfig:
    config = find_part(family, name).example()
    if config is None:
        pytest.skip(f"{family} '{name}' declares no Config.example()")
    return config


class Case:
    """A module of one family: how it is built, what it is fed, what comes out."""

    def __init__(self, family: str, name: str) -> None:
        self.family, self.config = family, example(family, name)
        if "drop" in type(self.config).model_fields:  # diffusion
            self.config = self.config.override("drop=0.5", "sampling_steps=2")
        if "latents" in type(self.config).model_fields and family == "painter":
            self.config = self.config.override("latents={type: pixels, side: 8}")  # those that learn are tested alone
        if family == "assembly":
            self.grid, self.cuts, self.tile = next(joined(self.config))

    def build(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(9)
        weight = nn.Parameter(torch.randn(VOCAB, DIM))  # the backbone's, whatever the seed of what is built
        torch.manual_seed(seed)
        given: dict[str, dict[str, Any]] = {
            "encoder": {},
            "connector": {"in_dim": IN, "out_dim": DIM, "grid": GRID},
            "backbone": {"vocab_size": VOCAB},
            "assembly": {"dim": DIM, "max_tiles": 2 * TILES} | {k: getattr(self, k, None) for k in ("grid", "tile")},
            "fusion": {"dim": DIM, "media_dim": MEDIA},
            "head": {"weight": weight, "bias": None, "media_dim": MEDIA},
            "prior": {"joint_dim": MEDIA, "text_dim": DIM},
            "painter": {"joint_dim": MEDIA, "size": PAINTED},
            "latents": {"size": PAINTED},
        }
        part = wake(self.config.build(**given[self.family]))
        if self.family == "encoder":
            return Encoded(part).eval()
        around = {"backbone": Read, "fusion": Fused, "assembly": Assembled, "head": Headed}
        around |= {"prior": Imagined, "painter": Painted, "latents": Coded}
        return wake(around[self.family](part)) if self.family in around else part

    def inputs(self, n: int) -> tuple[Any, ...]:
        """What the part is fed for `n` items: tiles, feature maps, rows or positions."""
        dice = torch.Generator().manual_seed(n)
        if self.family == "encoder":
            width, height = self.config.input_size
            if self.config.rate is not None:
                return (torch.randn(n, 1, 1, width, generator=dice),)
            return (torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=dice),)
        if self.family == "connector":
            tokens = GRID[0] * GRID[1] + self.config.extra_tokens
            return (torch.randn(n, tokens, IN, generator=dice),)
        if self.family == "backbone":
            documents = torch.tensor([[1, 1, 1, 2, 2, 2, 2]]).expand(n, 7)
            positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]]).expand(n, 7)
            ids = torch.randint(0, VOCAB, (n, 7), generator=dice)
            return ids, positions, Attention.within(documents)
        if self.family == "fusion":
            embeddings, media = (torch.randn(*shape, generator=dice) for shape in ((2, 12, DIM), (4 * n, MEDIA)))
            return embeddings.requires_grad_(), media, pictures(n, self.config)
        if self.family == "assembly":
            cuts = [self.cuts[i % len(self.cuts)] for i in range(n)]
            places = [place for cut in cuts for place in range(cut.plan.tiles)]
            known = Pictures(tile_positions=torch.tensor(places, dtype=torch.int64), cuts=tuple(cuts))
            features = torch.randn(len(places), self.grid[0] * self.grid[1], DIM, generator=dice)
            return features.requires_grad_(), known
        if self.family in ("painter", "latents"):
            tiles = torch.randint(0, 256, (n, 3, *PAINTED[::-1]), generator=dice)
            return (tiles.float().requires_grad_(),)  # floats, so that what has no weights has a gradient, too
        if self.family == "prior":
            return (torch.randn(n, MEDIA, generator=dice).requires_grad_(),)
        return (torch.randn(n, DIM, generator=dice),)

    def shape(self, n: int) -> tuple[int, ...]:
        """What must come out: the counts that the config announces."""
        if self.family == "encoder":
            return n, self.config.tokens, self.config.dim
        if self.family == "connector":
            return n, self.config.out_tokens(GRID[0] * GRID[1], GRID), DIM
        if self.family == "backbone":
            return n, 7, VOCAB
        if self.family == "assembly":
            pieces = [piece for i in range(n) for piece in self.config.pieces(self.cuts[i % len(self.cuts)], self.tile)]
            return sum(piece for piece in pieces if isinstance(piece, int)), DIM
        if self.family in ("prior", "painter"):
            return (n,)
        if self.family == "latents":
            return n, 3, *PAINTED[::-1]
        head: Any = self.config.part
        return (2, 12, DIM) if self.family == "fusion" else (n, VOCAB * head.writes + SEEN * head.embeds)

    @property
    def least(self) -> int:
        """The smallest legal batch: rows of a backbone are never none."""
        return 1 if self.family == "backbone" else 0


def joined(assembly: Any) -> Iterator[tuple[Any, tuple[Cut, ...], TileTokens]]:
    """The grids and cuts that an assembly joins, and what a connector that changes nothing makes of what it gets."""
    for grid, cuts in MAPS:
        with suppress(ConfigError):
            yield grid, cuts, TileTokens(*assembly.entering(grid[0] * grid[1], grid))


class Encoded(nn.Module):
    """An encoder on pictures of one tile each."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tiles: Tensor) -> Tensor:
        return self.encoder.features(tiles, Pictures(cuts=tuple(Cut((8, 8), TilePlan()) for _ in tiles)))


class Read(nn.Module):
    """A backbone with its embedding before it and its output weight behind it."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        hidden = self.backbone(self.backbone.embed(ids), positions, attention)
        return (hidden @ self.backbone.output_weight().T)[..., :VOCAB]


class Fused(nn.Module):
    """A fusion on a small backbone whose weights are none of its own: text and features in, hidden states out."""

    def __init__(self, fusion: Any) -> None:
        super().__init__()
        self.fusion = fusion
        torch.manual_seed(5)
        self.backbone = [Decoder.Config(width=DIM, depth=2, mlp_width=64).build(vocab_size=VOCAB).requires_grad_(False)]
        fusion.attach(self.backbone[0])

    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        fusion = self.fusion
        with fusion.during(fusion.open(media, batch)):
            given = fusion(embeddings, media, batch)
            return self.backbone[0](given, batch.positions, fusion.attention(batch))


class Headed(nn.Module):
    """A head, with the logits of what it embeds against three pictures."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head
        self.seen = torch.randn(SEEN, MEDIA, generator=torch.Generator().manual_seed(7))

    def forward(self, hidden: Tensor) -> Tensor:
        head, given = self.head, []
        if head.writes:
            given.append(head(hidden))
        if (embedding := head.embedding) is not None:
            given.append(embedding.logits(embedding(hidden), embedding.see(self.seen)))
        assert head.embeds == (embedding is not None)
        return torch.cat(given, dim=-1)


class Imagined(nn.Module):
    """The errors of a prior about embeddings of pictures."""

    def __init__(self, prior: Any) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, vectors: Tensor) -> Tensor:
        n, dice = len(vectors), torch.Generator().manual_seed(3)
        tokens, real = torch.randn(1, 5, DIM, generator=dice).expand(n, 5, DIM), torch.ones(n, 5, dtype=torch.bool)
        wording = Wording(torch.randn(1, MEDIA, generator=dice).expand(n, MEDIA), tokens, real)
        assert self.prior.imagine(wording, dice_of("abc"[:n], 0)).shape == (n, MEDIA)
        return self.prior.errors(vectors, wording, dice_of("abc"[:n], SEED))


class Painted(nn.Module):
    """The errors of a painter about tiles."""

    def __init__(self, painter: Any) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, tiles: Tensor) -> Tensor:
        n = len(tiles)
        vectors = torch.randn(1, MEDIA, generator=torch.Generator().manual_seed(3)).expand(n, MEDIA)
        painted = self.painter.paint(vectors, dice_of("abc"[:n], 0), steps=2)
        assert (painted.shape, painted.dtype) == (tiles.shape, torch.uint8)
        return self.painter.errors(tiles, vectors, dice_of("abc"[:n], SEED))


class Coded(nn.Module):
    """Latents there and back."""

    def __init__(self, latents: Any) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, tiles: Tensor) -> Tensor:
        return self.latents.decode(self.latents.encode(tiles))


def pictures(n: int, fusion: Any = None) -> Batch:
    """Two rows of 12 tokens with `n` tiles of four features, each a picture, at most two a row."""
    media = torch.zeros(2, 12, dtype=torch.bool)
    inline = fusion is None or 4 in fusion.written([4], ChatTemplate())
    for tile in range(n):
        media[tile // 2, 1 + tile % 2 * 5 : 5 + tile % 2 * 5] = inline
    numbers, tiles = torch.ones(2, 12, dtype=torch.int64), torch.arange(n)
    known = Pictures(
        tiles // 2, 1 + tiles % 2 * 5, torch.ones_like(tiles), torch.full_like(tiles, 4), tiles % TILES,
        tuple(Cut((8, 8), TilePlan()) for _ in range(n)),
    )  # fmt: skip
    return Batch(
        ids=numbers, supervised=~media, positions=numbers.cumsum(1) - 1, documents=numbers, media=media,
        tiles=torch.zeros(n, 3, 8, 8, dtype=torch.uint8), pictures=known, samples=((), ()),
    )  # fmt: skip


class Assembled(nn.Module):
    """An assembly behind a connector that is none of its own and changes nothing."""

    def __init__(self, assembly: Any) -> None:
        super().__init__()
        self.assembly = assembly

    def forward(self, features: Tensor, known: Pictures) -> Tensor:
        return self.assembly(features, known, lambda features, mask=None: features)


def wake(module: nn.Module) -> nn.Module:
    """Noise on every weight: gates that start at zero are open, so that every path shows."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * (weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1))
    return module.eval()


MODULES = [
    pytest.param((family, name), id=f"{family}:{name}")
    for family in ("encoder", "connector", "assembly", "backbone", "fusion", "head", "prior", "painter", "latents")
    for name in part_names(family)
    if (family, name) not in (("prior", "none"), ("painter", "none"))  # these do nothing
]


@pytest.fixture(params=MODULES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def backward(case: Case, module: nn.Module, n: int) -> Tensor:
    output = module(*case.inputs(n))
    (output.float() * torch.randn(output.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    return output


def test_shape_is_what_was_announced(case: Case) -> None:
    for n in (1, 3):
        assert case.build()(*case.inputs(n)).shape == case.shape(n)


def test_an_empty_batch_gives_zero_gradients(case: Case) -> None:
    module = case.build()
    assert backward(case, module, case.least).shape == case.shape(case.least)
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert case.least or not weight.grad.any(), name


def test_gradient_reaches_what_is_trainable_and_nothing_else(case: Case) -> None:
    module = case.build()
    backward(case, module, 3)
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
    half = case.build()
    frozen = [weight.requires_grad_(False) for weight in list(half.parameters())[::2]]
    if len(frozen) < len(list(half.parameters())):
        backward(case, half, 3)
    assert all(weight.grad is None for weight in frozen)
    assert all(weight.grad is not None for weight in half.parameters() if weight.requires_grad)


def test_saved_and_loaded_it_gives_the_same(case: Case, tmp_path: Path) -> None:
    module, other = case.build(0), case.build(1)
    save_file({k: v.contiguous().clone() for k, v in module.state_dict().items()}, tmp_path / "part.safetensors")
    other.load_state_dict(load_file(tmp_path / "part.safetensors"))
    with torch.no_grad():
        assert torch.equal(module(*case.inputs(3)), other(*case.inputs(3)))


def test_bfloat16_autocast_is_close(case: Case) -> None:
    module = case.build()
    with torch.no_grad():
        exact = module(*case.inputs(3)).float()
        with torch.autocast("cpu", torch.bfloat16):
            rounded = module(*case.inputs(3)).float()
    assert (exact - rounded).norm() < 0.1 * exact.norm()


def test_items_of_a_batch_do_not_see_each_other(case: Case) -> None:
    if case.family in ("fusion", "assembly"):
        pytest.skip("these join the items of a batch, by the batch's own account of them")
    module, (first, *rest) = case.build(), case.inputs(3)
    changed = first.clone()
    changed[0] = changed[1]
    with torch.no_grad():
        before, after = module(first, *rest), module(changed, *rest)
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


def every_config() -> Iterator[Any]:
    for family in part_families():
        yield from (pytest.param((family, name), id=f"{family}:{name}") for name in part_names(family))


@pytest.mark.parametrize("part", every_config())
def test_config_round_trips(part: tuple[str, str]) -> None:
    config = example(*part)
    family: type[PartConfig] = type(config).__mro__[1]
    for view in (config.to_dict(), yaml.safe_load(config.to_yaml())):
        again = type(config).from_dict(view)
        assert again == config
        assert again.to_dict() == config.to_dict()
    assert family.model_validate(config.to_dict()) == config, "the family finds it by its type"
    assert config.to_dict()["type"] == part[1]


@pytest.mark.parametrize("name", names("encoder"))
def test_encoder_announces_its_grid(name: str) -> None:
    config: Any = example("encoder", name)
    assert config.tokens >= config.grid[0] * config.grid[1]
    assert all(isinstance(side, int) and side > 0 for side in (*config.grid, *config.input_size, config.dim))
    units = config.build().shard_units()
    assert units
    assert all(isinstance(unit, nn.Module) for unit in units)


@torch.no_grad()
@pytest.mark.parametrize("name", names("encoder"))
def test_encoder_reads_levels_as_floats_alike(name: str) -> None:
    case = Case("encoder", name)
    module, (tiles,) = case.build(), case.inputs(2)
    exact = module(tiles)
    assert (exact - module(tiles.float())).norm() < 0.05 * exact.norm(), "but for rounding where it resizes"


@pytest.mark.parametrize("name", names("backbone"))
class TestBackbone:
    def model(self, name: str) -> Any:
        return wake(example("backbone", name).build(vocab_size=VOCAB))

    def test_embeddings_and_layers(self, name: str) -> None:
        model = self.model(name)
        assert model.embed(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, model.config.dim)
        assert model.output_weight().shape[0] >= VOCAB
        assert model.output_weight().shape[1] == model.config.dim
        assert len(model.layers) > 0
        assert model.shard_units()

    @torch.no_grad()
    @pytest.mark.parametrize("masked", [False, True], ids=["any form", "mask alone"])
    def test_no_token_sees_a_later_one_or_another_sample(self, name: str, masked: bool) -> None:
        model, (ids, positions, attention) = self.model(name), Case("backbone", name).inputs(1)
        embeddings = model.embed(ids)
        if masked:  # what kernels on a GPU see
            attention = Attention(attention.mask)
        before = model(embeddings, positions, attention)
        for token in range(7):
            changed = embeddings.clone()
            changed[0, token] += 1
            moved = (model(changed, positions, attention) != before).any(-1)[0].tolist()
            mine = range(token, 3 if token < 3 else 7)
            assert moved == [place in mine for place in range(7)]

    @torch.no_grad()
    def test_cached_steps_equal_one_pass(self, name: str) -> None:
        model = self.model(name)
        embeddings = torch.randn(2, 6, model.config.dim)
        documents, positions = torch.ones(2, 6, dtype=torch.int64), torch.arange(6).expand(2, 6)
        whole = model(embeddings, positions, Attention.within(documents))
        cache, parts = model.new_cache(), []
        for start, end in ((0, 4), (4, 5), (5, 6)):
            seen = (
                Attention(torch.ones(2, 1, 1, end, dtype=torch.bool)) if start else Attention.within(documents[:, :4])
            )
            parts.append(model(embeddings[:, start:end], positions[:, start:end], seen, cache))
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", names("fusion"))
def test_fusion_keeps_samples_apart(name: str) -> None:
    case = Case("fusion", name)
    (embeddings, media, batch), module = case.inputs(3), case.build()
    with torch.no_grad():
        fused, other = (module(embeddings, m, batch) for m in (media, media + 1))
    if not isinstance(module, Fused) or case.config.written([4], ChatTemplate()):
        assert not torch.equal(fused, other), "the pictures reach the sequence"
    attention = case.build().fusion.attention(Batch(**{**vars(batch), "documents": torch.tensor([[1, 2], [1, 1]])}))
    apart, together = attention.mask[:, 0].tolist()
    assert apart == [[True, False], [False, True]]
    assert together[1] == [True, True]


@pytest.mark.parametrize("name", names("assembly"))
def test_assembly_keeps_pictures_apart(name: str) -> None:
    case = Case("assembly", name)
    (features, known), module = case.inputs(3), case.build()
    counts = [sum(p for p in case.config.pieces(cut, case.tile) if isinstance(p, int)) for cut in known.cuts]
    first = sum(cut.plan.tiles for cut in known.cuts[:1])
    with torch.no_grad():
        before, after = module(features, known), module(torch.cat([features[:first] + 1, features[first:]]), known)
    assert not torch.equal(before[: counts[0]], after[: counts[0]])
    assert torch.equal(before[counts[0] :], after[counts[0] :])


@pytest.mark.parametrize("name", names("tiling"))
@pytest.mark.parametrize("input_size", [(16, 16), (24, 16)])
def test_tiling_cuts_what_it_plans(name: str, input_size: tuple[int, int]) -> None:
    tiling: Tiling = example("tiling", name).build(input_size=input_size)
    sounds = tiling.config.rate is not None
    for size in [(width, 1) for width, _ in SIZES[:4]] if sounds else SIZES:
        plan, blank = tiling.plan(size), tiling.blank()
        opened = np.ones((1, size[0]), np.float32) if sounds else PILImage.new("RGB", size, (9, 9, 9))
        assert tiling.measured(opened) == size
        tiles = tiling.cut(opened, plan)
        places = tiling.positions(plan)
        assert (tiles.shape, tiles.dtype) == ((plan.tiles, *blank.shape[1:]), blank.dtype)
        assert sounds or blank.shape == (0, 3, input_size[1], input_size[0])
        assert 0 < plan.tiles <= tiling.config.max_tiles
        assert len(places) == plan.tiles == len(set(places))
        assert all(0 <= place < tiling.config.max_tiles for place in places)


@pytest.mark.parametrize("name", names("tiling"))
@pytest.mark.parametrize("size", [(32, 32), (64, 32), (40, 90), (61, 47)])
def test_tiling_knows_what_each_tile_shows(name: str, size: tuple[int, int]) -> None:
    tiling: Tiling = example("tiling", name).build(input_size=(48, 32))
    if tiling.config.rate is not None:
        pytest.skip("it cuts sounds")
    plan = tiling.plan(size)
    pixels = [round(part * size[i % 2]) for i, part in enumerate((0.5, 0.4, 0.7, 0.6))]
    dot = [pixel / size[i % 2] for i, pixel in enumerate(pixels)]
    picture = PILImage.new("RGB", size)
    picture.paste((255, 255, 255), tuple(pixels))
    views = tiling.views(size, plan)
    assert len(views) == plan.tiles
    for tile, (left, top, right, bottom) in zip(tiling.cut(picture, plan), views, strict=True):
        x, y = (np.arange(48) + 0.5) / 48 * (right - left) + left, (np.arange(32) + 0.5) / 32 * (bottom - top) + top
        inside = ((y > dot[1]) & (y < dot[3]))[:, None] & ((x > dot[0]) & (x < dot[2]))
        padding = ((y < 0) | (y > 1))[:, None] | ((x < 0) | (x > 1))
        differs = ((tile[0] > 190) != inside) & ~padding
        edge = 2 * (inside.any(0).sum() + inside.any(1).sum() + 4)
        assert differs.sum() <= edge, "but for one pixel around it, the dot is where the view says"
        assert (tile[:, padding] == tile[0, padding][:1]).all()


@pytest.mark.parametrize("name", names("tokenizer"))
class TestTokenizer:
    def make(self, name: str) -> Tokenizer:
        config: Any = example("tokenizer", name)
        return config.part.create(config)

    def test_text_round_trips(self, name: str) -> None:
        tokenizer = self.make(name)
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(list(ids)) == text
            assert max(ids) < tokenizer.vocab_size
        assert tokenizer.encode("") == ()

    def test_marks_are_special_only_where_the_template_writes_them(self, name: str) -> None:
        tokenizer = self.make(name)
        special = [tokenizer.rust.id_to_token(i) for i in range(tokenizer.vocab_size)]
        special = [token for token in special if token and tokenizer.markers(token) != tokenizer.encode(token)]
        for token in special:
            (mark,) = tokenizer.markers(token)
            assert mark not in tokenizer.encode(f"user types {token} here")
        assert tokenizer.pad_id == tokenizer.id_of(tokenizer.rust.id_to_token(tokenizer.pad_id))

    def test_saved_and_read_and_made_again_it_is_the_same(self, name: str, tmp_path: Path) -> None:
        config: Any = example("tokenizer", name)
        tokenizer, again = self.make(name), self.make(name)
        tokenizer.save(tmp_path)
        read = config.part.read(config, tmp_path)
        for text in TEXTS:
            assert tokenizer.encode(text) == read.encode(text) == again.encode(text)
        assert tokenizer.pad_id == read.pad_id
        assert tokenizer.vocab_size == read.vocab_size


@pytest.mark.parametrize("name", names("objective"))
class TestObjective:
    def parts(self, name: str) -> tuple[Any, Any, list[Any]]:
        from toy import Toy

        objective, source = example("objective", name).build(), Toy(Toy.Config())
        head = "token-and-embedding" if objective.compares or objective.needs_parts else "token"
        changes = ["model.connector=pixel-shuffle", f"model.head={head}"]
        changes += [
            f"model.{name}={json.dumps(example(name, 'diffusion').to_dict())}" for name in objective.needs_parts
        ]
        single = objective.reads_text or "painter" in objective.needs_parts  # of one picture of one tile
        if single:
            changes.append("model.tiling=whole")
        if objective.reads_text:
            reading = {**Connector.Config.model_validate("q-former").example().to_dict(), "text": True}
            changes.append(f"model.connector={json.dumps(reading)}")
        model = toy_model(*changes)
        return objective, model, [model.layout(source[i]) for i in ((0, 1, 2, 6) if single else range(4))]

    def test_sums_and_counts_add_up(self, name: str) -> None:
        objective, model, laid = self.parts(name)
        whole = objective(model, collate([[one] for one in laid], model.layout))
        parts = [collate([[one] for one in half], model.layout) for half in (laid[:1], laid[1:])]
        halves = [objective(model, part) for part in parts]
        assert whole.total.ndim == 0
        assert whole.count == sum(half.count for half in halves) > 0
        assert whole.count == objective.count(collate([[one] for one in laid], model.layout))
        total = sum(half.total for half in halves)
        if isinstance(objective, StepObjective):  # the halves' items are compared with each other, too
            reads = [objective.read(model, part) for part in parts]
            columns = tuple(torch.cat(column) for column in zip(*(read.compared for read in reads), strict=True))
            together = sum(read.own for read in reads) + objective.compare(model, columns, whole.count)
            assert (together - total).abs() > 1e-3
            total = together
        torch.testing.assert_close(whole.total, total, rtol=1e-4, atol=1e-4)

    def test_nothing_supervised_is_no_loss(self, name: str) -> None:
        objective, model, laid = self.parts(name)
        batch = collate([laid[:2]], model.layout)
        silent = Batch(**{**vars(batch), "supervised": torch.zeros_like(batch.supervised), "regions": Regions()})
        loss = objective(model, silent)
        assert (loss.total.item(), loss.count) == (0.0, 0)

    def test_gradient_and_bfloat16(self, name: str) -> None:
        objective, model, laid = self.parts(name)
        batch = collate([laid], model.layout)
        exact = objective(model, batch)
        exact.total.backward()
        assert any(p.grad is not None and p.grad.any() for p in model.parameters())
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = objective(model, batch)
        assert rounded.total.dtype == torch.float32
        torch.testing.assert_close(rounded.total, exact.total, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("name", names("document-filter"))
def test_document_filter_learns_only_what_it_is_told_to_remember(name: str) -> None:
    words = "The crow builds its nest in the old trees of the park, and it feeds its young there."
    reading = Reading("html", pieces=[words, Picture(png("red", (200, 160)), Figure("crow.png")), "x", words])
    document, part = reading.document("crow.html", "test"), example("document-filter", name).build()
    first, again = apply([part], document), apply([part], document)
    assert first == again, "what was only looked at leaves no trace"
    assert [s for s in document.segments if s in first.document.segments] == list(first.document.segments)
    assert len(first.cuts) + len(first.document.segments) == len(document.segments)
    assert all(cut.reason and cut.filter == name for cut in first.cuts)
    part.remember(first.document)
