"""Native resolution: pictures packed side by side are what each is alone, our ViT's, and SigLIP 2's."""

from __future__ import annotations

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
from sensorium.encoders.navit import NaViT, Packing
from sensorium.encoders.vit import ViT
from sensorium.errors import ConfigError
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
def test_pictures_of_any_size_are_siglip_2s() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.Siglip2VisionConfig(
        **sizes, num_patches=16, patch_size=4, hidden_act="gelu", vision_use_head=False, layer_norm_eps=1e-6
    )
    theirs, ours = transformers.Siglip2VisionModel(config).eval(), navit()
    theirs.load_state_dict(_siglip(ours))
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


def _siglip(ours: NaViT) -> dict[str, torch.Tensor]:
    """Our weights under the names of SigLIP 2."""
    found = {"embeddings.patch_embedding.weight": ours.stem.weight.permute(0, 2, 3, 1).flatten(1)}
    found["embeddings.patch_embedding.bias"] = ours.stem.bias
    found["embeddings.position_embedding.weight"] = ours.positions[0]
    names = {"attention_norm": "layer_norm1", "out": "self_attn.out_proj", "mlp_norm": "layer_norm2",
             "up": "mlp.fc1", "down": "mlp.fc2"}  # fmt: skip
    for number, block in enumerate(ours.blocks):
        for kind in ("weight", "bias"):
            layer = f"encoder.layers.{number}."
            found |= {f"{layer}{name}.{kind}": getattr(getattr(block, own), kind) for own, name in names.items()}
            for part, value in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
                found[f"{layer}self_attn.{part}_proj.{kind}"] = value
    return found | {f"post_layernorm.{kind}": getattr(ours.norm, kind) for kind in ("weight", "bias")}


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
