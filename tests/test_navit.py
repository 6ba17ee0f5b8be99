"""Native resolution: pictures packed side by side are what each is alone, our ViT's, and SigLIP 2's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from toy import png, toy_model

import sensorium as sm
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut, TilePlan, to_tiles
from sensorium.data.tilings.native import Native
from sensorium.encoders.cache import cached_features
from sensorium.encoders.encoder import Encoder
from sensorium.encoders.navit import NaViT, Packing
from sensorium.encoders.vit import ViT
from sensorium.errors import ConfigError
from sensorium.interop.naflex import NAFLEX
from sensorium.pages.laid import sample_card

SIZES = {"width": 16, "depth": 2, "num_heads": 2, "patch_size": 4}
SHAPES = [(4, 4), (2, 7), (1, 1), (5, 3), (4, 4), (1, 9)]


def navit(**changes: Any) -> NaViT:
    torch.manual_seed(0)
    encoder = NaViT.Config(side=4, **(SIZES | changes)).build()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return encoder.eval()


def pictures(*shapes: tuple[int, int]) -> Pictures:
    return Pictures(cuts=tuple(Cut((8, 8), TilePlan(*shape)) for shape in shapes))


def patches(*shapes: tuple[int, int]) -> torch.Tensor:
    count = sum(rows * columns for rows, columns in shapes)
    dice = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8, generator=dice)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["interpolated", "factorised"])
def test_a_picture_alone_is_the_picture_in_company(positions: str) -> None:
    encoder = navit(positions=positions)
    tiles = patches(*SHAPES)
    together = encoder.features(tiles, pictures(*SHAPES))
    first = 0
    for rows, columns in SHAPES:
        mine = slice(first, first + rows * columns)
        alone = encoder.features(tiles[mine], pictures((rows, columns)))
        torch.testing.assert_close(together[mine], alone, rtol=1e-5, atol=1e-6)
        changed = tiles.clone()
        changed[mine] = 255 - changed[mine]
        moved = (encoder.features(changed, pictures(*SHAPES)) != together).flatten(1).any(1)
        assert moved.tolist() == [mine.start <= place < mine.stop for place in range(len(tiles))], "to the bit"
        first = mine.stop


@torch.no_grad()
def test_a_square_picture_is_our_vits() -> None:
    encoder = navit()
    vit = ViT.Config(image_size=16, stem="patch", **SIZES).build().eval()
    vit.load_state_dict(encoder.state_dict())
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    whole, cut = torch.from_numpy(to_tiles(picture)), torch.from_numpy(to_tiles(picture, 4, 4))
    features = encoder.features(cut, pictures((4, 4)))[:, 0]
    torch.testing.assert_close(features, vit(whole)[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("whole", [True, False], ids=["both towers", "vision tower"])
def test_pictures_of_any_size_are_siglip_2s(tmp_path: Path, whole: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    seeing = {**sizes, "num_patches": 16, "patch_size": 4}
    torch.manual_seed(0)
    if whole:
        text = {**sizes, "vocab_size": 32, "projection_size": 16}
        saved = transformers.Siglip2Model(transformers.Siglip2Config(vision_config=seeing, text_config=text))
        theirs = saved.vision_model
    else:
        saved = theirs = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**seeing))
    for weight in theirs.parameters():
        weight.add_(torch.randn_like(weight) * 0.2)
    saved.eval().save_pretrained(tmp_path)
    given = {"path": str(tmp_path), "side": 4, "mlp_ratio": 3.0, "activation": "gelu-tanh"}
    ours = pretrained(NaViT.Config.model_validate(SIZES | given))
    tiles = patches(*SHAPES)
    features = ours.features(tiles, pictures(*SHAPES))[:, 0]
    most = max(rows * columns for rows, columns in SHAPES)
    pixels = torch.zeros(len(SHAPES), most, 48)
    mask = torch.zeros(len(SHAPES), most)
    normed = (tiles.float() / 127.5 - 1).permute(0, 2, 3, 1).flatten(1)  # a patch is [row, column, channel] there
    for i, own in enumerate(normed.split([rows * columns for rows, columns in SHAPES])):
        pixels[i, : len(own)], mask[i, : len(own)] = own, 1
    found = theirs(pixel_values=pixels, pixel_attention_mask=mask, spatial_shapes=torch.tensor(SHAPES))
    torch.testing.assert_close(features, found.last_hidden_state[mask.bool()], rtol=1e-4, atol=1e-5)


def test_a_folder_of_another_tower_says_what_to_set(tmp_path: Path) -> None:
    architecture = {"hidden_size": 16, "num_hidden_layers": 3, "num_patches": 16, "patch_size": 4}
    file = tmp_path / "config.json"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_std": [0.25, 0.25, 0.25]}))
    file.write_text(json.dumps({"model_type": "siglip2", "vision_config": architecture}))
    with pytest.raises(ConfigError, match=r"set positions: .*, depth: 3, .*, activation: gelu-tanh, std"):
        pretrained(NaViT.Config.model_validate(SIZES | {"path": str(tmp_path), "side": 4, "positions": "factorised"}))
    file.write_text(json.dumps({"model_type": "siglip", "vision_config": architecture}))
    with pytest.raises(ConfigError, match=r"of model_type 'siglip', .*; SigLIP 2 of one size is hf-vision's"):
        pretrained(NaViT.Config.model_validate(SIZES | {"path": str(tmp_path)}))
    one_size = Encoder.Config.model_validate({"type": "hf-vision", "architecture": {"model_type": NAFLEX}})
    with pytest.raises(ConfigError, match="its pictures are of any size, choose encoder navit"):
        one_size.build()


def pretrained(config: NaViT.Config) -> NaViT:
    encoder = config.build()
    config.load_pretrained(encoder)
    return encoder.eval()


def test_factorised_positions_by_hand() -> None:
    encoder = navit(positions="factorised")
    rows, columns = encoder.positions[0].split(4)
    places = encoder._positions(3, 2)
    for row in range(3):
        for column in range(2):
            assert torch.equal(places[2 * row + column], rows[row] + columns[column])
    assert encoder._positions(1, 9).shape == (9, 16), "more columns than were learned"


def test_packing_wastes_little_and_loses_nothing() -> None:
    lengths = [5, 1, 9, 4, 4, 2]
    packing = Packing.of(lengths, torch.device("cpu"))
    assert packing.numbers.shape == (3, 9), "9; 5 and 4; 4, 2 and 1"
    assert packing.numbers.flatten()[packing.places].tolist() == list(range(sum(lengths)))
    assert packing.mask is not None
    assert packing.mask.sum(-1)[:, 0].flatten()[packing.places].tolist() == [n for n in lengths for _ in range(n)]
    assert Packing.of([4, 4], torch.device("cpu")).mask is None


def test_what_looks_at_tiles_is_told_that_they_are_patches(tmp_path: Any) -> None:
    encoder = navit().requires_grad_(False)
    with pytest.raises(ConfigError, match="reads pictures, whose tiles are patches"):
        encoder(patches((1, 1)))
    with (
        pytest.raises(ConfigError, match="cache_features: tiles of the encoder 'navit' see each other"),
        cached_features(encoder),
    ):
        pass
    with pytest.raises(ConfigError, match="a thumbnail among the patches"):
        encoder.features(patches((1, 2)), Pictures(cuts=(Cut((8, 8), TilePlan(1, 1, thumbnail=True)),)))


def test_many_patches_are_shown_as_one_picture() -> None:
    lines = ("encoder=navit", "encoder.patch_size=4", "encoder.width=16", "encoder.depth=1", "tiling=native",
             "tiling.max_patches=80", "connector=mlp")  # fmt: skip
    model = toy_model(*(f"model.{line}" for line in lines))
    corner = sm.Region((0.0, 0.0, 0.5, 0.5), "red")
    for size, tiles in (((32, 32), 64), ((40, 32), 1)):
        laid = model.layout(sm.Sample((sm.Image(png("red", size), regions=(corner,)), sm.Text("x"))))
        card = str(sample_card(laid, model.layout, "toy"))
        assert card.count("<img") == tiles
        assert f"{size[1] // 4} × {size[0] // 4} tiles" in card
        assert card.count('class="region"') == 1


def test_plans_are_of_whole_blocks() -> None:
    ours = Native.Config(min_patches=4, max_patches=40, multiple=2).build(input_size=(4, 4))
    for size in [(1, 1), (9, 300), (300, 9), (57, 31), (8, 8)]:
        plan = ours.plan(size)
        assert plan.rows % 2 == plan.columns % 2 == 0
        assert 4 <= plan.tiles <= 40
        assert ours.cut(PILImage.new("RGB", size), plan).shape == (plan.tiles, 3, 4, 4)
