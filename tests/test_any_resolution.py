"""Any resolution: plans, pixels, counts and orders against the published systems."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as PILImage
from torch import Tensor
from toy import png, toy_model, toy_recipe

import sensorium as sm
from sensorium.assembly.assembly import TileTokens
from sensorium.checks import run_checks
from sensorium.config import find_part
from sensorium.data.batch import Pictures, collate
from sensorium.data.tiling import Cut, TilePlan, Tiling
from sensorium.data.tilings.aspect import Aspect
from sensorium.data.tilings.multiples import Multiples
from sensorium.data.tilings.native import Native
from sensorium.errors import ConfigError
from sensorium.model_config import ModelConfig

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
PAGE = Path(__file__).parents[1] / "docs" / "any-resolution.md"
BLOCKS = re.findall(r"^```yaml\n# scheme: ([^\n]*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SCHEMES: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in BLOCKS}
DICE = random.Random(0)
SIZES = [(DICE.randint(9, 2400), DICE.randint(9, 2400)) for _ in range(150)]
SIZES = [size for size in SIZES if max(size) < 200 * min(size)]
SIZES += [(100, 100), (336, 336), (672, 336), (336, 672), (1008, 336), (2000, 21), (21, 2000), (1344, 448), (1500, 999)]


@cache
def scheme(name: str) -> ModelConfig:
    """The model of a scheme as the page describes it, with a small language model."""
    return ModelConfig.from_dict({**SCHEMES[name], "backbone": "decoder", "tokenizer": "bpe", "context": 10_000})


@cache
def tiling(name: str) -> Tiling:
    config = scheme(name)
    return config.tiling.build(input_size=config.encoder.input_size)


def worth(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """Features and tiles of a picture."""
    cut = Cut(size, tiling(name).plan(size))
    return scheme(name).media_rule.features(cut), cut.plan.tiles


def smooth(size: tuple[int, int]) -> PILImage.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return PILImage.fromarray(pixels).resize(size, PILImage.Resampling.BICUBIC)


def assembled(name: str, cuts: list[Cut], grid: tuple[int, int], connect: Any, dim: int = 4, **config: Any) -> Tensor:
    """What an assembly makes of features that count up from 0 in their first channel, behind `connect`."""
    part: Any = find_part("assembly", name)(**config)
    tokens, entering = part.entering(grid[0] * grid[1], grid)
    torch.manual_seed(0)
    assembly = part.build(dim=dim, max_tiles=20, grid=grid, tile=TileTokens(tokens, entering))
    return assembly(numbered(cuts, grid, dim), Pictures(cuts=tuple(cuts)), connect)


def numbered(cuts: list[Cut], grid: tuple[int, int], dim: int = 4) -> Tensor:
    """Features of all tiles, the first channel counting up."""
    shape = sum(cut.plan.tiles for cut in cuts), grid[0] * grid[1]
    return torch.arange(shape[0] * shape[1]).view(*shape, 1).expand(*shape, dim).float()


def unchanged(features: Tensor, mask: Tensor | None = None) -> Tensor:
    return features


# --- what a picture is worth ---


def test_the_table_of_the_page_is_what_the_configs_say() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    sizes = next([tuple(map(int, size.split(" × "))) for size in rest] for first, *rest in rows if first == "scheme")
    told = {first: rest for first, *rest in rows if first in SCHEMES and len(rest) == len(sizes)}
    assert told == {name: ["{} ({})".format(*worth(name, size)) for size in sizes] for name in SCHEMES}


NATIVE = ["encoder=navit", "encoder.patch_size=4", "encoder.width=16", "encoder.depth=1", "tiling=native",
          "tiling.max_patches=32"]  # fmt: skip
COMPOSITIONS = {
    "llava-next": ["tiling.canvases=[[1,2],[2,1],[2,2]]", "tiling.always_thumbnail=true", "connector=mlp",
                   "assembly=unpad"],
    "xgen-mm, released": ["tiling.thumbnail=stretch", "assembly=masked-tiles", "assembly.view=strips"],
    "xgen-mm, asked": ["assembly=masked-tiles", "connector.instruction_tokens=5"],
    "internvl": ["tiling=aspect", "tiling.max_cells=4", "connector=average-pool", "connector.side=2"],
    "idefics3": ["tiling=multiples", "tiling.max_side=2", "connector=pixel-shuffle", "assembly=marked"],
    "native, newlines": [*NATIVE, "connector=mlp", "assembly=unpad"],
    "native, blocks": [*NATIVE, "tiling.multiple=2", "connector=pixel-shuffle", "assembly=blocks"],
}  # fmt: skip
CHECKS = ["token-count", "truncation", "leak", "no-images", "gradients", "cached-generation", "checkpoint"]


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_invariants_hold(name: str) -> None:
    long = [
        "model.context=256",
        "stages.0.length=256",
        "stages.1.length=256",
        "stages.1.trainable=[connector,assembly]",
    ]
    recipe = toy_recipe(*long, *(f"model.{line}" for line in COMPOSITIONS[name]))
    assert [verdict for verdict in run_checks(recipe, CHECKS, samples=10) if not verdict.passed] == []


# --- plans ---


def test_xgen_takes_the_canvases_it_was_released_with() -> None:
    for size, canvas, tokens in [((1000, 500), (1, 2), 384), ((500, 1000), (2, 1), 384), ((400, 400), (2, 2), 640),
                                 ((1152, 384), (1, 3), 512)]:  # fmt: skip
        plan = tiling("xgen-mm, released").plan(size)
        assert (plan.rows, plan.columns) == canvas
        assert plan.thumbnail
        assert not plan.thumbnail_last
        assert worth("xgen-mm, released", size)[0] == tokens
    assert worth("xgen-mm, paper", (2304, 1536)) == (1664, 13)


def test_llava_next_plans_as_transformers_does() -> None:
    from transformers.image_processing_utils import select_best_resolution

    points = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    for width, height in SIZES:
        plan = tiling("llava-next").plan((width, height))
        assert (plan.rows * 336, plan.columns * 336) == select_best_resolution((height, width), points)


@pytest.mark.parametrize("tile", [364, 384, 512])
def test_idefics3_plans_as_transformers_does(tile: int) -> None:
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    processor = Idefics3ImageProcessorPil(size={"longest_edge": 4 * tile}, max_image_size={"longest_edge": tile})
    ours = Multiples.Config(max_side=4, rounding="idefics3", thumbnail="last").build(input_size=(tile, tile))
    for width, height in SIZES:
        plan = ours.plan((width, height))
        counted = processor.get_number_of_image_patches(height, width, {})
        assert (plan.tiles, plan.rows, plan.columns) == counted
        assert plan.thumbnail_last


def test_native_plans_as_qwen2_vl_does() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    patch, least, most = 14, 16, 1200
    ours = Native.Config(min_patches=least, max_patches=most, multiple=2).build(input_size=(patch, patch))
    for width, height in SIZES:
        plan = ours.plan((width, height))
        wanted = smart_resize(height, width, 2 * patch, least * patch**2, most * patch**2)
        assert (plan.rows * patch, plan.columns * patch) == wanted


def test_the_nearest_shape_by_hand() -> None:
    """InternVL's examples: 448 pixels a tile, twelve tiles at most."""
    wanted = {(1344, 896): (3, 2), (800, 600): (4, 3), (400, 400): (1, 1), (900, 900): (2, 2), (1000, 1000): (3, 3),
              (3000, 300): (10, 1), (300, 3000): (1, 10)}  # fmt: skip
    plans = {size: tiling("internvl").plan(size) for size in wanted}
    assert {size: (plan.columns, plan.rows) for size, plan in plans.items()} == wanted
    assert all(plan.thumbnail == (plan.cells > 1) and plan.thumbnail_last for plan in plans.values())
    with pytest.raises(ConfigError, match="min_cells 9 is more than max_cells 4"):
        Aspect.Config.from_dict({"min_cells": 9, "max_cells": 4})


def test_whole_tiles_by_hand() -> None:
    for rounding, size, shape in [
        ("nearest", (448, 448), (1, 1)), ("nearest", (2000, 1000), (2, 3)), ("nearest", (1000, 700), (2, 2)),
        ("nearest", (100, 4000), (3, 1)), ("up", (1920, 1080), (2, 3)), ("up", (449, 300), (2, 2)),
        ("up", (300, 200), (1, 1)), ("full", (300, 190), (2, 3)), ("full", (190, 300), (3, 2)),
    ]:  # fmt: skip
        plan = Multiples.Config(rounding=rounding).build(input_size=(448, 448)).plan(size)
        assert (plan.rows, plan.columns) == shape, (rounding, size)


# --- pixels ---


@pytest.mark.parametrize("size", [(640, 480), (100, 333), (500, 170)])
def test_pixels_are_those_of_llava_next(size: tuple[int, int]) -> None:
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    points = [[112, 224], [224, 112], [224, 224], [336, 112], [112, 336]]
    side = {"height": 112, "width": 112}
    processor = LlavaNextImageProcessorPil(size=side, crop_size=side, image_grid_pinpoints=points)
    wanted = processor(smooth(size), do_rescale=False, do_normalize=False)["pixel_values"][0]
    ours = find_part("tiling", "grid").model_validate(SCHEMES["llava-next"]["tiling"]).build(input_size=(112, 112))
    tiles = ours.cut(smooth(size), ours.plan(size))
    assert tiles.shape == wanted.shape
    assert np.abs(tiles.astype(float) - wanted).max() <= 2


def test_patches_of_blocks_come_in_the_order_of_qwen2_vl() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    size = (90, 61)
    processor = Qwen2VLImageProcessorPil(patch_size=8, temporal_patch_size=1, min_pixels=256, max_pixels=8192)
    wanted = processor(smooth(size), do_rescale=False, do_normalize=False)["pixel_values"]
    ours = Native.Config(multiple=2, max_patches=128).build(input_size=(8, 8))
    plan = ours.plan(size)
    pixels = torch.from_numpy(ours.cut(smooth(size), plan)).flatten(1)[:, None].float()
    blocks = find_part("assembly", "blocks")().build(dim=192, max_tiles=128, grid=(1, 1), tile=TileTokens(4, (2, 2)))
    given = blocks(pixels, Pictures(cuts=(Cut(size, plan),)), unchanged)
    assert given.shape == wanted.shape
    assert np.abs(given.numpy() - wanted).max() <= 2


# --- LLaVA-NeXT ---


def test_llava_next_counts_as_its_processor_does() -> None:
    from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

    points = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    processor: Any = LlavaNextProcessor.__new__(LlavaNextProcessor)
    processor.image_processor = SimpleNamespace(image_grid_pinpoints=points)
    processor.patch_size, processor.num_additional_image_tokens = 14, 0
    for width, height in SIZES:
        wanted = processor._get_number_of_features(height, width, 336, 336)
        assert worth("llava-next", (width, height))[0] == wanted, (width, height)


def test_llava_next_packs_as_transformers_does() -> None:
    from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

    grid, points = (4, 4), [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    vision = SimpleNamespace(image_size=56, patch_size=14)
    model: Any = SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=points))
    ours = find_part("tiling", "grid").model_validate(SCHEMES["llava-next"]["tiling"]).build(input_size=(56, 56))
    cuts = [Cut(size, ours.plan(size)) for size in SIZES]
    packed = assembled("unpad", cuts, grid, unchanged)
    features = numbered(cuts, grid).split([cut.plan.tiles for cut in cuts])
    torch.manual_seed(0)
    newline = torch.randn(4) * 4**-0.5
    sizes = torch.tensor([(height, width) for width, height in SIZES])
    wanted, lengths = LlavaNextModel.pack_image_features(model, features, sizes, "default", newline)
    assert torch.equal(packed, torch.cat(list(wanted)))
    part: Any = find_part("assembly", "unpad")()
    assert [part.pieces(cut, TileTokens(16, grid)) for cut in cuts] == [[length] for length in lengths.tolist()]


def test_a_single_tile_gets_one_newline_and_stretched_ones_are_not_cut() -> None:
    single = assembled("unpad", [Cut((30, 5), TilePlan(padded=True))], (2, 2), unchanged)
    assert single[:4, 0].tolist() == [0, 1, 2, 3]
    assert len(single) == 5
    stretched = TilePlan(1, 2, thumbnail=True, thumbnail_last=True)
    tokens = assembled("unpad", [Cut((50, 5), stretched)], (2, 2), unchanged)
    assert tokens[[0, 1, 2, 3, 5, 6, 7, 8], 0].tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert tokens[10:, 0].tolist() == [8, 9, 10, 11], "the thumbnail behind them"
    with pytest.raises(ConfigError, match="tokens have no places"):
        find_part("assembly", "unpad")().pieces(Cut((9, 9), TilePlan()), TileTokens(4, None))  # type: ignore[attr-defined]


# --- xGen-MM ---


def xgen(features: Tensor, size: tuple[int, int], rows: int, columns: int, side: int) -> tuple[Tensor, Tensor]:
    """Steps 7 to 10 of the released code, from the description: what the resampler is given, and its mask."""
    base, cells = features[0], features[1:]
    stitched = torch.cat([torch.cat(list(row), dim=1) for row in cells.view(rows, columns, side, side, -1)], dim=0)
    mask = torch.ones(stitched.shape[:2])
    high, wide = stitched.shape[:2]
    if size[0] / size[1] > wide / high:
        padding = (high - int(size[1] * (wide / size[0]))) // 2
        mask[:padding], mask[high - padding :] = 0, 0
    else:
        padding = (wide - int(size[0] * (high / size[1]))) // 2
        mask[:, :padding], mask[:, wide - padding :] = 0, 0
    groups = stitched.reshape(rows * columns, side * side, -1)
    return torch.cat([base[None], groups]), torch.cat([torch.ones(1, side**2), mask.view(-1, side**2)])


@pytest.mark.parametrize("view", ["strips", "tiles"])
def test_what_the_resampler_of_xgen_is_given(view: str) -> None:
    side, ours = 27, tiling("xgen-mm, released")
    cuts = [Cut(size, ours.plan(size)) for size in SIZES[:60]]
    given: list[Tensor] = []

    def resample(features: Tensor, mask: Tensor) -> Tensor:
        given.extend((features, mask))
        return features[:, :2]

    assembled("masked-tiles", cuts, (side, side), resample, dim=1, view=view)
    features = numbered(cuts, (side, side), 1)
    wanted = [xgen(tiles, cut.size, cut.plan.rows, cut.plan.columns, side)
              for cut, tiles in zip(cuts, features.split([cut.plan.tiles for cut in cuts]), strict=True)]  # fmt: skip
    strips, masks = (torch.cat(parts) for parts in zip(*wanted, strict=True))
    if view == "strips":
        assert torch.equal(given[0], strips)
        assert torch.equal(given[1], masks.bool())
    else:  # the same features are seen, each in its own tile
        assert torch.equal(given[0], features)
        seen, shown = (set(tokens[mask.bool()].flatten().tolist()) for tokens, mask in (given, (strips, masks)))
        assert len(seen ^ shown) <= 2 * side, "but for a column where the released code loses a half to rounding"


def test_a_strip_of_two_tiles_holds_both() -> None:
    seen: list[Tensor] = []
    cut = Cut((400, 400), TilePlan(2, 2, thumbnail=True, padded=True))
    assembled("masked-tiles", [cut], (27, 27), lambda f, mask: seen.append(f) or f, dim=1, view="strips")
    tiles = (seen[0][1, :, 0] // 729).int().tolist()
    assert tiles == ([1] * 27 + [2] * 27) * 13 + [1] * 27, "rows of 27 of the upper two tiles in turn"


@pytest.mark.parametrize(("view", "hidden"), [("strips", None), ("tiles", None)])
def test_padding_beside_a_square_is_hidden(view: str, hidden: None) -> None:
    masks: list[Tensor] = []
    cut = Cut((384, 384), TilePlan(1, 2, thumbnail=True, padded=True))
    assembled("masked-tiles", [cut], (27, 27), lambda f, mask: masks.append(mask) or f, dim=1, view=view)
    thumbnail, *cells = masks[0]
    assert thumbnail.all()
    if view == "strips":
        canvas = torch.cat(cells).view(27, 54)
    else:
        canvas = torch.cat([cell.view(27, 27) for cell in cells], dim=1)
    assert canvas.all(0).tolist() == canvas.any(0).tolist() == [13 <= column < 41 for column in range(54)]


def test_masks_need_a_connector_that_takes_one() -> None:
    with pytest.raises(ConfigError, match=r"'masked-tiles' hides padding .* 'mlp' looks at everything"):
        ModelConfig.from_dict(
            {
                **SCHEMES["xgen-mm, paper"],
                "connector": "mlp",
                "backbone": "decoder",
                "tokenizer": "bpe",
                "context": 1000,
            }
        )


# --- marks ---


def test_marks_are_those_of_idefics3() -> None:
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

    processor: Any = SimpleNamespace(
        fake_image_token="<fake_token_around_image>", global_image_tag="<global-img>", image_token="#", image_seq_len=3
    )
    config = scheme("idefics3").assembly
    for plan in (TilePlan(), TilePlan(2, 4, True, True), TilePlan(4, 1, True, True)):
        pieces = config.pieces(Cut((9, 9), plan), TileTokens(3))
        rows, columns = (plan.rows, plan.columns) if plan.cells > 1 else (0, 0)
        known = {"rows": [[rows]], "cols": [[columns]]}
        wanted = Idefics3Processor.replace_image_token(processor, known, 0)
        assert "".join("#" * piece if isinstance(piece, int) else piece for piece in pieces) == wanted
        texts = [isinstance(piece, str) for piece in pieces]
        assert not any(a and b for a, b in pairwise(texts)), "marks that meet are one text"


def test_marks_are_those_of_nanovlm() -> None:
    config = scheme("nanovlm").assembly
    pieces = config.pieces(Cut((9, 9), TilePlan(1, 2, thumbnail=True)), TileTokens(64))
    assert pieces == ["<|global_image|>", 64, "<row_1_col_1>", 64, "<row_1_col_2>", 64]
    assert config.pieces(Cut((9, 9), TilePlan()), TileTokens(64)) == ["<|global_image|>", 64]


def test_marks_stand_between_the_features_of_their_tiles() -> None:
    marks = "[<global-img>,<row_1_col_1>,<row_1_col_2>]"
    model = toy_model("model.tiling=multiples", "model.assembly=marked", f"model.tokenizer.special={marks}")
    laid = model.layout(sm.caption(png("red", (32, 16)), "x"))
    (span,) = laid.spans
    ids, media = (part[span.start : span.start + span.length].tolist() for part in (laid.ids, laid.media))
    whole, first, second = (model.tokenizer.id_of(mark) for mark in marks[1:-1].split(","))
    assert [0 if there else i for i, there in zip(ids, media, strict=True)][:15] == [
        whole, 0, 0, 0, 0, first, 0, 0, 0, 0, second, 0, 0, 0, 0
    ]  # fmt: skip
    assert model.tokenizer.decode(ids[15:]).strip(" ") == "\n"
    assert span.length == model.layout.tokens_for((32, 16))
    assert first not in model.tokenizer.encode("<row_1_col_1>"), "typed by a user it is text"
    assert model.media(collate([[laid]], model.layout)).shape == (12, 32)


# --- blocks ---


def test_blocks_say_what_they_need() -> None:
    with pytest.raises(ConfigError, match="set the tiling to native with multiple=2"):
        find_part("assembly", "blocks")().pieces(Cut((9, 9), TilePlan(3, 2)), TileTokens(1))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="joins tiles of one patch"):
        ModelConfig.from_dict({**SCHEMES["internvl"], "assembly": "blocks", "backbone": "decoder", "tokenizer": "bpe"})
    asking = {**SCHEMES["native"], "connector": {"type": "perceiver", "instruction_tokens": 4}}
    with pytest.raises(ConfigError, match="reads an instruction for each tile, and assembly 'blocks' joins tiles"):
        ModelConfig.from_dict({**asking, "backbone": "decoder", "tokenizer": "bpe"})
    with pytest.raises(ConfigError, match="max_patches 3 leaves no picture"):
        Native.Config.from_dict({"max_patches": 3, "multiple": 2})
