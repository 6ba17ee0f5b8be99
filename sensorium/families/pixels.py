"""What image processors of `transformers` do to a picture, as our tiling and back."""

from __future__ import annotations

from typing import Any

from sensorium.encoders.hf import HFVision
from sensorium.families.folder import Folder
from sensorium.interop.means import CLIP_MEAN, CLIP_STD, HALF
from sensorium.model import ModelConfig


def pixels_of(folder: Folder) -> dict[str, Any]:
    """What a folder says of pixels: its preprocessor_config.json or, since version 5 of `transformers`, what its
    processor_config.json says of the image processor; empty if it has neither."""
    nested = folder.json("processor_config.json").get("image_processor") or {}
    return folder.json("preprocessor_config.json") or nested


def normalisation(given: dict[str, Any], kind: str) -> dict[str, Any]:
    """Mean and standard deviation of a preprocessor_config.json, by default those of the tower's kind."""
    mean, std = (CLIP_MEAN, CLIP_STD) if "clip" in kind else (HALF, HALF)
    return {"mean": tuple(given.get("image_mean", mean)), "std": tuple(given.get("image_std", std))}


def tiling_of(given: dict[str, Any], mean: tuple[float, ...]) -> dict[str, Any]:
    """The tiling of a preprocessor_config.json: padded to a square, cropped at the centre, or stretched."""
    if given.get("do_pad"):
        return {"type": "whole", "fit": "pad", "fill": background(mean)}
    return {"type": "whole", "fit": "crop" if given.get("do_center_crop") else "stretch"}


def background(mean: tuple[float, ...]) -> tuple[int, ...]:
    """The mean colour in whole levels, with which LLaVA pads."""
    return tuple(int(value * 255) for value in mean)


def processor_of(config: ModelConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    """The preprocessor_config.json of a model whose pictures are one tile."""
    side, fit = config.encoder.input_size[0], getattr(config.tiling, "fit", "stretch")
    square = {"height": side, "width": side}
    common = {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
              "image_mean": list(mean), "image_std": list(std), "resample": 3, "rescale_factor": 1 / 255}  # fmt: skip
    if fit == "stretch":
        return {"image_processor_type": "SiglipImageProcessor", "size": square, **common}
    edge = {"size": {"shortest_edge": side}, "crop_size": square, "do_center_crop": True}
    if fit == "pad":
        return {"image_processor_type": "LlavaImageProcessor", "do_pad": True, **edge, **common}
    return {"image_processor_type": "CLIPImageProcessor", **edge, **common}


def pixel_obstacles(config: ModelConfig, mean: tuple[float, ...]) -> list[str]:
    """What keeps pictures from being cut as a stock processor does it."""
    if config.tiling.type_name != "whole":
        return [f"tiling '{config.tiling.type_name}': a picture is one tile there ('whole')"]
    fill = getattr(config.tiling, "fill", None)
    if getattr(config.tiling, "fit", "") == "pad" and fill != background(mean):
        return [f"tiling.fill {fill}: pictures are padded with the encoder's mean colour {background(mean)} there"]
    return []


def tower_obstacles(config: ModelConfig, *kinds: str) -> list[str]:
    """What keeps an encoder from being a vision tower of `transformers` of these model types."""
    encoder = config.encoder
    if not isinstance(encoder, HFVision.Config):
        return [f"encoder '{encoder.type_name}': the tower is one of transformers there ('hf-vision')"]
    kind, found = encoder.settings["model_type"], []
    if kind not in kinds:
        found.append(f"encoder 'hf-vision': model_type '{kind}' is not {' or '.join(kinds)}")
    elif kind == "siglip_vision_model" and encoder.feature_layer is None:
        found.append("encoder.feature_layer: the last norm of SigLIP is not applied there; set -1 or another layer")
    if encoder.image_size is not None:
        found.append("encoder.image_size: positions are not interpolated there")
    return found
