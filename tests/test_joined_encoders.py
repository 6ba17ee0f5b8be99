"""Encoders around encoders: several side by side, and one at several scales, against plain re-derivations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from torch import Tensor
from toy import toy_model, toy_recipe

from sensorium.data.tiling import resized
from sensorium.edits.edit import Edit
from sensorium.encoders.cache import cached_features, fingerprint
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.model import compose
from sensorium.recipe import find_recipe
from sensorium.training.checkpoint import load_model
from sensorium.training.trainer import train

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
VIT = {"type": "vit", "image_size": 16, "patch_size": 4, "width": 16, "depth": 1, "num_heads": 2}
PAIR = {"type": "joined", "encoders": [VIT, {**VIT, "image_size": 24, "width": 8, "class_token": True}]}
S2 = {"type": "s2", "encoder": {**VIT, "image_size": 8, "patch_size": 2, "width": 8}}

torch.set_num_threads(1)


def made(config: dict[str, Any]) -> tuple[Any, Any]:
    found = Encoder.Config.model_validate(config)
    torch.manual_seed(0)
    part = found.build().eval().requires_grad_(False)
    found.load_pretrained(part)
    return part.config, part


def tower(kind: str, folder: Path, **sizes: Any) -> Any:
    """A random vision tower of transformers, saved with pixels of its own mean."""
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **SIZES, **sizes)
    theirs = transformers.AutoModel.from_config(config).eval()
    theirs.save_pretrained(folder)
    mean = 0.3 if kind == "clip_vision_model" else 0.6
    (folder / "preprocessor_config.json").write_text(f'{{"image_mean": {[mean] * 3}, "image_std": {[0.5 * mean] * 3}}}')
    return theirs, lambda pixels: (pixels / 255 - mean) / (0.5 * mean)


def pictures(side: int, count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def as_cut(tiles: Tensor, side: int) -> Tensor:
    """Each tile as a tiling would have cut it from the picture at `side` pixels."""
    drawn = [PILImage.fromarray(tile.permute(1, 2, 0).numpy()) for tile in tiles]
    return torch.from_numpy(np.stack([resized(one, (side, side)) for one in drawn])).permute(0, 3, 1, 2)


def lines(new: int, old: int) -> Tensor:
    """The matrix `[new, old]` of linear interpolation between the centres of cells."""
    found = torch.zeros(new, old)
    for i in range(new):
        at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        low = min(int(at), old - 2)
        found[i, low], found[i, low + 1] = low + 1 - at, at - low
    return found


@torch.no_grad()
def test_each_encoder_sees_the_tile_at_its_own_size_and_in_its_own_colours(tmp_path: Path) -> None:
    """CLIP and SigLIP of transformers, each from its own folder; SigLIP's 3 x 3 grid grows to CLIP's 4 x 4."""
    clip, clip_pixels = tower("clip_vision_model", tmp_path / "clip", image_size=28, patch_size=7)
    siglip, siglip_pixels = tower("siglip_vision_model", tmp_path / "siglip", image_size=40, patch_size=13)
    members = [{"type": "hf-vision", "path": str(tmp_path / name)} for name in ("clip", "siglip")]
    config, encoder = made({"type": "joined", "encoders": members})
    assert (config.input_size, config.grid, config.tokens, config.dim) == ((40, 40), (4, 4), 16, 32)
    tiles = pictures(40)
    first = clip(clip_pixels(as_cut(tiles, 28))).last_hidden_state[:, 1:]
    second = siglip(siglip_pixels(tiles)).last_hidden_state.unflatten(1, (3, 3))
    grown = torch.einsum("ir,jc,nrcd->nijd", lines(4, 3), lines(4, 3), second).flatten(1, 2)
    torch.testing.assert_close(encoder(tiles), torch.cat([first, grown], dim=-1), rtol=1e-4, atol=1e-4)
    moved = Encoder.Config.model_validate(config.to_dict())  # rebuilt without the folders
    assert set(moved.build().state_dict()) == set(encoder.state_dict())


@torch.no_grad()
def test_a_finer_grid_is_averaged_to_the_common_one() -> None:
    _, encoder = made({**PAIR, "grid_size": [2, 2]})
    tiles = pictures(24)
    first, second = encoder.encoders
    maps = (first(as_cut(tiles, 16)).unflatten(1, (4, 4)), second(tiles)[:, 1:].unflatten(1, (6, 6)))
    wanted = [m.unflatten(2, (2, -1)).unflatten(1, (2, -1)).mean((2, 4)).flatten(1, 2) for m in maps]
    torch.testing.assert_close(encoder(tiles), torch.cat(wanted, dim=-1), rtol=1e-5, atol=1e-5)


def chessboard(siglip: Any, pixels: Tensor, scales: tuple[int, ...], side: int, cells: int) -> Tensor:
    """S2 as its paper tells it, tile by tile, of the states before SigLIP's last layer (Bunny)."""
    columns = []
    for scale in scales:
        larger = F.interpolate(pixels, (scale * side, scale * side), mode="bicubic")
        board = torch.zeros(len(pixels), scale * cells, scale * cells, 16)
        for row in range(scale):
            for column in range(scale):
                tile = larger[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
                seen = siglip(tile, output_hidden_states=True).hidden_states[-2].unflatten(1, (cells, cells))
                board[:, row * cells : (row + 1) * cells, column * cells : (column + 1) * cells] = seen
        for row in range(cells):
            for column in range(cells):
                area = board[:, row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
                columns.append(area.mean((1, 2)))
    return torch.stack(columns, 1).unflatten(1, (len(scales), -1)).transpose(1, 2).flatten(2)


@torch.no_grad()
def test_s2_is_what_bunny_defines(tmp_path: Path) -> None:
    """At a size that leaves a border of the last patch out, as SigLIP's 384 pixels and patches of 14 do."""
    siglip, normalise = tower("siglip_vision_model", tmp_path, image_size=23, patch_size=7)
    inner = {"type": "hf-vision", "path": str(tmp_path), "feature_layer": -2}
    config, encoder = made({"type": "s2", "encoder": inner, "scales": [1, 2, 3], "antialias": False})
    assert (config.input_size, config.grid, config.tokens, config.dim) == ((69, 69), (3, 3), 9, 48)
    tiles = pictures(69, 2)
    wanted = chessboard(siglip, normalise(tiles), (1, 2, 3), 23, 3)
    torch.testing.assert_close(encoder(tiles), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scaled", "plain"), [("bunny-8b-s2", "bunny-8b"), ("bunny-s2-mini", "bunny-mini")])
def test_recipes_with_s2_have_as_many_features_a_picture_as_those_without(scaled: str, plain: str) -> None:
    found, wanted = (find_recipe(name).model for name in (scaled, plain))
    assert found.encoder.grid == wanted.encoder.grid
    assert found.tile == wanted.tile
    assert found.encoder.dim % wanted.encoder.dim == 0
    assert found.encoder.dim > wanted.encoder.dim


@torch.no_grad()
def test_s2_resizes_by_default_as_tilings_do() -> None:
    _, encoder = made(S2)
    tiles = pictures(16)
    features = encoder(tiles)
    torch.testing.assert_close(features[..., :8], encoder.encoder(as_cut(tiles, 8)), rtol=1e-5, atol=1e-5)
    top_right = encoder.encoder(tiles[:, :, :8, 8:]).unflatten(1, (4, 4))
    corner = features[..., 8:].unflatten(1, (4, 4))[:, :2, 2:]
    averaged = top_right.unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean((2, 4))
    torch.testing.assert_close(corner, averaged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", [PAIR, S2, {"type": "joined", "encoders": [S2, VIT]}], ids=["pair", "s2", "both"])
def test_frozen_with_kept_features_it_trains_the_same(encoder: dict[str, Any], tmp_path: Path) -> None:
    changes = [f"model.encoder={encoder}", "stages.0.trainable=[connector]", "stages.0.steps=2", "stages.1.steps=1"]
    plain = train(toy_recipe(*changes), tmp_path / "plain", quiet=True)
    kept = train(toy_recipe(*changes, "stages.0.cache_features=true"), tmp_path / "kept", quiet=True)
    for (name, one), (_, other) in zip(plain.named_parameters(), kept.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
    torch.manual_seed(7)  # the seed of the recipe
    before, after = (fingerprint(model.encoder) for model in (compose(toy_recipe(*changes).model), plain))
    assert before == after, "frozen"
    again = load_model(tmp_path / "plain" / "model")
    assert fingerprint(again.encoder) == after
    with torch.no_grad(), cached_features(again.encoder.requires_grad_(False)) as cache:
        tiles = pictures(again.config.encoder.input_size[0])
        assert torch.equal(again.encoder(tiles), again.encoder(tiles.flip(0)).flip(0))
        assert cache.encoded == 3


@pytest.mark.parametrize(
    ("encoder", "larger"), [(PAIR, "encoder.encoders.1.image_size=32"), (S2, "encoder.encoder.image_size=12")]
)
def test_positions_of_every_encoder_are_carried_to_larger_pictures(encoder: dict[str, Any], larger: str) -> None:
    model = toy_model(f"model.encoder={encoder}")
    edit: Any = Edit.Config.model_validate({"type": "reconfigure", "changes": [larger]})
    before = dict(model.encoder.state_dict())
    edit.build()(model, iter(()), lambda name: model)
    after = model.encoder.state_dict()
    (changed,) = [key for key in after if after[key].shape != before[key].shape]
    assert changed.endswith("positions")
    assert all(torch.equal(after[key], before[key]) for key in after if key != changed)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"type": "joined", "encoders": ["navit"]}, "tiles of the encoder 'navit' see each other"),
        ({"type": "joined", "encoders": []}, "at least 1"),
        ({**PAIR, "grid_size": [0, 4]}, r"grid_size is \[0, 4\]"),
        ({"type": "s2", "encoder": "navit"}, "tiles of the encoder 'navit' see each other"),
        ({**S2, "scales": [2, 1]}, r"scales are \[2, 1\]: give whole numbers from 1 that rise"),
        ({**S2, "scales": [1, 1.5]}, "valid integer"),
    ],
)
def test_what_cannot_be_joined_is_refused(encoder: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        toy_recipe(f"model.encoder={encoder}")
