"""SigLIP 2's vision tower for pictures of any size (NaFlex, arXiv 2502.14786, section 2.4) as our `navit`."""

from __future__ import annotations

from itertools import product
from math import isqrt
from typing import TYPE_CHECKING, Any

import torch

from sensorium.assets import need
from sensorium.errors import ConfigError
from sensorium.interop.fill import fill
from sensorium.interop.pretrained import fill as fill_theirs
from sensorium.interop.pretrained import make_config, read_architecture
from sensorium.interop.siglip import OUTSIDE, VISION
from sensorium.interop.towers import LAYER, QKV, blocks

if TYPE_CHECKING:
    from sensorium.encoders.navit import NaViT

NAFLEX = "siglip2_vision_model"
WHAT = "encoder 'navit'"


def naflex_config(path: str) -> dict[str, Any]:
    """The sizes and the activation of a folder of `transformers`, as keys of `navit`; a `ConfigError` if it is of
    another kind. The folder of both towers gives its vision tower."""
    found = _architecture(path)
    places = {"side": isqrt(found["num_patches"]), "positions": "interpolated"}
    return {"patch_size": found["patch_size"], **places, **blocks(found, "gelu_pytorch_tanh")}


def load_naflex(navit: NaViT, path: str) -> None:
    """Fill `navit`, which has the folder's sizes. A patch is `[row, column, channel]` there, with us the kernel of a
    convolution. A tensor that is missing or of another shape is a `ConfigError`."""
    need("transformers", "hf", "reading SigLIP 2")
    from transformers import Siglip2VisionModel

    config = _architecture(path)
    model = Siglip2VisionModel._from_config(make_config({**config, "vision_use_head": False}, WHAT))
    fill_theirs(model, path, WHAT)
    theirs, side = model.state_dict(), config["patch_size"]
    ours = {name: theirs[key.removeprefix("vision_model.")] for key, (part, name) in OUTSIDE.items()
            if part == "encoder"}  # fmt: skip
    ours["stem.weight"] = ours["stem.weight"].unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)
    ours["positions"] = ours["positions"][None]
    for number, kind in product(range(config["num_hidden_layers"]), ("weight", "bias")):
        layer, block = f"encoder.layers.{number}.", f"blocks.{number}."
        ours |= {f"{block}{name}.{kind}": theirs[f"{layer}{key}.{kind}"] for key, name in LAYER.items()}
        ours[f"{block}qkv.{kind}"] = torch.cat([theirs[f"{layer}{key}.{kind}"] for key in QKV])
    fill(navit, ours, f"the {WHAT} ({path})")


def _architecture(path: str) -> dict[str, Any]:
    found = read_architecture(path)
    if found.get("model_type") == "siglip2":
        found = {**found.get("vision_config", {}), "model_type": NAFLEX}
    if found.get("model_type") != NAFLEX:
        fix = "SigLIP 2 of one size is hf-vision's" if found.get("model_type") == "siglip" else "choose another encoder"
        raise ConfigError(f"{WHAT}: {path} is of model_type '{found.get('model_type')}', which is not {NAFLEX}; {fix}")
    return VISION | {"num_patches": 256} | found
