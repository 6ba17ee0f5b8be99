"""Our ViT and the Hugging Face vision wrapper against transformers' own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.interop.vit import load_vit, vit_config

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)

torch.set_num_threads(1)


def tiny(kind: str) -> Any:
    """A random model of one of the kinds that the wrapper knows, 32 pixels, patches of 8."""
    torch.manual_seed(0)
    sizes = {**SIZES, "image_size": 32, "patch_size": 8}
    if kind in ("clip", "siglip"):  # two towers, of which the wrapper takes one
        config = transformers.AutoConfig.for_model(kind, vision_config=sizes, text_config=SIZES)
    else:
        config = transformers.AutoConfig.for_model(kind, **sizes)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


def saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return str(folder)


def pixels(tiles: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (tiles / 255 - mean) / std


@pytest.fixture
def tiles() -> Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_our_vit_gives_the_features_of_transformers(tiles: Tensor, tmp_path: Path) -> None:
    model = tiny("vit")
    path = Path(saved(model, tmp_path))
    written = load_file(path / "model.safetensors")
    for state in (model.state_dict(), written, {f"vit.{key}": value for key, value in written.items()}):
        config = Encoder.Config.model_validate(
            vit_config(model.config.to_dict(), {"image_mean": MEAN, "image_std": STD})
        )
        vit = config.build().eval()
        load_vit(vit, state)
        wanted = model(pixel_values=pixels(tiles)).last_hidden_state
        torch.testing.assert_close(vit(tiles), wanted, rtol=1e-4, atol=1e-4)


def test_every_key_is_accounted_for() -> None:
    model = tiny("vit")
    vit, state = Encoder.Config.model_validate(vit_config(model.config.to_dict())).build(), model.state_dict()
    with pytest.raises(ConfigError, match=r"unknown key 'layers\.0\.extra\.weight'"):
        load_vit(vit, {**state, "layers.0.extra.weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"lack 1 tensors of the ViT, first 'norm\.bias'"):
        load_vit(vit, {k: v for k, v in state.items() if k != "layernorm.bias"})
    with pytest.raises(ConfigError, match="needs query, key and value"):
        load_vit(vit, {k: v for k, v in state.items() if k != "layers.0.attention.k_proj.weight"})
    with pytest.raises(ConfigError, match=r"hidden_act is 'relu'"):
        vit_config({**model.config.to_dict(), "hidden_act": "relu"})


@pytest.mark.parametrize("kind", ["vit", "clip", "siglip", "dinov2", "deit"])
@pytest.mark.parametrize("layer", [None, -2])
@torch.no_grad()
def test_the_wrapper_gives_the_features_of_transformers(kind: str, layer: int | None, tiles: Tensor, tmp_path: Path):
    model, extra = tiny(kind), {"siglip": 0, "deit": 2}.get(kind, 1)
    outputs = getattr(model, "vision_model", model)(pixel_values=pixels(tiles), output_hidden_states=True)
    wanted = outputs.last_hidden_state if layer is None else outputs.hidden_states[layer]
    base = {"type": "hf-vision", "path": saved(model, tmp_path), "feature_layer": layer}
    for drop in (True, False):
        config: Any = Encoder.Config.model_validate({**base, "drop_class_token": drop})
        assert (config.input_size, config.grid, config.dim) == ((32, 32), (4, 4), 16), "known before it is resolved"
        encoder = config.resolved().build().eval()
        config.load_pretrained(encoder)
        found = encoder(tiles)
        assert found.shape == (3, config.tokens, config.dim)
        torch.testing.assert_close(found, wanted[:, extra if drop else 0 :], rtol=1e-4, atol=1e-4)
        assert encoder(tiles[:0]).shape == (0, config.tokens, config.dim)


@torch.no_grad()
def test_the_wrapper_reads_other_sizes(tiles: Tensor, tmp_path: Path) -> None:
    model = tiny("clip")
    config: Any = Encoder.Config.model_validate({"type": "hf-vision", "path": saved(model, tmp_path), "image_size": 64})
    encoder = config.resolved().build().eval()
    config.load_pretrained(encoder)
    large = tiles.repeat_interleave(2, -1).repeat_interleave(2, -2)
    wanted = model.vision_model(pixel_values=pixels(large), interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(encoder(large), wanted[:, 1:], rtol=1e-4, atol=1e-4)


def test_the_wrapper_names_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(ConfigError, match="model_type 'resnet' is none of vit"):
        _ = Encoder.Config.model_validate({"type": "hf-vision", "path": str(tmp_path)}).tokens
