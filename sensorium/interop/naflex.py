"""SigLIP 2's vision tower for pictures of any size (NaFlex, arXiv 2502.14786, section 2.4) as our `navit`."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from sensorium.assets import need
from sensorium.errors import ConfigError
from sensorium.interop.pretrained import fill, make_config, read_architecture
from sensorium.interop.siglip import VISION
from sensorium.interop.towers import LAYER, QKV, blocks

NAFLEX = "siglip2_vision_model"
WHAT = "encoder 'navit'"


def naflex_config(path: str) -> dict[str, Any]:
    """The sizes and the activation of a folder of `transformers`, as keys of `navit`; a `ConfigError` if it is of
    another kind. The folder of both towers gives its vision tower."""
    found = _architecture(path)
    return {
        "patch_size": found["patch_size"],
        "side": isqrt(found["num_patches"]),
        **blocks(found, "gelu_pytorch_tanh"),
    }


def naflex_tensors(path: str) -> dict[str, Tensor]:
    """The folder's tensors under the names and in the shapes of `navit`: a patch, which is `[row, column, channel]`
    there, as the kernel of a convolution, queries, keys and values in one matrix."""
    need("transformers", "hf", f"{WHAT}: reading SigLIP 2")
    from transformers import Siglip2VisionModel

    config = _architecture(path)
    model = Siglip2VisionModel._from_config(make_config({**config, "vision_use_head": False}, WHAT))
    fill(model, path, WHAT)
    theirs = {key.removeprefix("vision_model."): tensor for key, tensor in model.state_dict().items()}
    side, start = config["patch_size"], "embeddings.patch_embedding."
    kernel = theirs[f"{start}weight"].unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)
    ours = {"stem.weight": kernel, "stem.bias": theirs[f"{start}bias"]}
    ours["positions"] = theirs["embeddings.position_embedding.weight"][None]
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = theirs[f"post_layernorm.{kind}"]
        for number in range(config["num_hidden_layers"]):
            layer, block = f"encoder.layers.{number}.", f"blocks.{number}."
            ours |= {f"{block}{name}.{kind}": theirs[f"{layer}{key}.{kind}"] for key, name in LAYER.items()}
            ours[f"{block}qkv.{kind}"] = torch.cat([theirs[f"{layer}{key}.{kind}"] for key in QKV])
    return ours


def _architecture(path: str) -> dict[str, Any]:
    found = read_architecture(path)
    if found.get("model_type") == "siglip2":
        found = {**found.get("vision_config", {}), "model_type": NAFLEX}
    if found.get("model_type") != NAFLEX:
        fix = "SigLIP 2 of one size is hf-vision's" if found.get("model_type") == "siglip" else "choose another encoder"
        raise ConfigError(f"{WHAT}: {path} is of model_type '{found.get('model_type')}', which is not {NAFLEX}; {fix}")
    return VISION | {"num_patches": 256} | found
