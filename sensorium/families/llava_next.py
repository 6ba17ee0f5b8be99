"""LLaVA-NeXT (LLaVA-1.6) as `transformers` has it: LLaVA-1.5 on tiles of any resolution, their padding cut away."""

from __future__ import annotations

from typing import Any, ClassVar

from sensorium.data.tilings.grid import Grid
from sensorium.encoders.hf import EXTRA_TOKENS
from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.llava import RULES, Llava
from sensorium.families.rules import Rule
from sensorium.interop.pretrained import make_config
from sensorium.model import ModelConfig

POINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
"""The resolutions (height, width) of a config that names none."""
BLACK = (0, 0, 0)
CUT = {"thumbnail": "stretch", "always_thumbnail": True, "fill": BLACK}
"""What its image processor does beside choosing the canvas."""


class LlavaNext(Llava):
    what = "LlavaNextForConditionalGeneration of transformers: LLaVA-NeXT (LLaVA-1.6)"
    model_types = ("llava_next",)
    classes: ClassVar[tuple[str, str]] = ("LlavaNextForConditionalGeneration", "LlavaNextProcessor")
    assembly: ClassVar[tuple[str, str]] = ("unpad", "padding is cut away and rows end with image_newline")
    rules: ClassVar[tuple[Rule, ...]] = (
        *RULES,
        Rule("image_newline", "assembly.newline"),
        Rule("model.image_newline", "assembly.newline"),
    )

    def cutting(self, folder: Folder, given: dict[str, Any], mean: tuple[float, ...]) -> dict[str, Any]:
        settings, where = folder.settings, str(folder.path)
        vision, strategy = settings["vision_config"], settings.get("vision_feature_select_strategy", "default")
        if strategy == "full" and EXTRA_TOKENS[vision["model_type"]]:
            raise ConfigError(
                f"{where}: vision_feature_select_strategy 'full' keeps a class token, which has no place in a map of "
                "tiles; only 'default' is read with this tower"
            )
        points = settings.get("image_grid_pinpoints") or POINTS
        if given.get("image_grid_pinpoints", points) != points:
            raise ConfigError(
                f"{where}: image_grid_pinpoints is {points} in config.json and {given['image_grid_pinpoints']} in the "
                "image processor's config; make them one"
            )
        side = make_config(vision, "vision_config").image_size
        if wrong := [point for point in points if point[0] % side or point[1] % side]:
            raise ConfigError(f"{where}: image_grid_pinpoints has {wrong[0]}, which tiles of {side} pixels do not fill")
        canvases = [(height // side, width // side) for height, width in points]
        return {"tiling": {"type": "grid", "canvases": canvases, **CUT}, "assembly": self.assembly[0]}

    def cutting_obstacles(self, config: ModelConfig) -> list[str]:
        tiling = config.tiling
        if not isinstance(tiling, Grid.Config):
            return [f"tiling '{tiling.type_name}': pictures are cut by a grid of canvases there ('grid')"]
        return [
            f"tiling.{key} is {getattr(tiling, key)!r}: it is {value!r} there"
            for key, value in CUT.items()
            if getattr(tiling, key) != value
        ]

    def cutting_stock(self, config: ModelConfig, pixels: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        tiling, side = config.tiling, config.encoder.input_size[0]
        assert isinstance(tiling, Grid.Config)
        points = {"image_grid_pinpoints": [[rows * side, columns * side] for rows, columns in tiling.allowed]}
        square = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        kind = {"image_processor_type": "LlavaNextImageProcessor", "do_center_crop": True, "do_pad": True}
        return points, {**pixels, **square, **kind, **points}


@family
def llava_next_hf() -> Family:
    """LLaVA-NeXT in the layout of transformers."""
    return LlavaNext()
