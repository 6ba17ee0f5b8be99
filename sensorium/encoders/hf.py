"""Vision models of Hugging Face `transformers` as encoders: ViT, CLIP, SigLIP, DINOv2, DeiT and BLIP-2's EVA."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.assets import find_file, has_file
from sensorium.encoders.encoder import Encoder, Normalise
from sensorium.errors import ConfigError
from sensorium.interop.naflex import NAFLEX
from sensorium.interop.pretrained import fill, make_config, narrowed, read_architecture

BLIP_2 = "blip_2_vision_model"
"""EVA; `AutoModel` does not know it, and in files it is part of the whole BLIP-2."""
EXTRA_TOKENS = {"vit": 1, "deit": 2, "clip_vision_model": 1, "siglip_vision_model": 0, "dinov2": 1, BLIP_2: 1}
"""Known model types, and the tokens before the first patch: a class token, DeiT's distillation token."""

Colours = tuple[float, float, float]
HALF: Colours = (0.5, 0.5, 0.5)


class HFVision(Encoder, name="hf-vision"):
    """Wraps `AutoModel`. A folder of a two-tower model (CLIP, SigLIP) gives its vision tower.

    Pixels are normalised here with the folder's mean and standard deviation; resizing is the tiling's.
    """

    class Config(Encoder.Config):
        path: str = Field(default="", description="a local folder with config.json and safetensors")
        architecture: dict[str, Any] = Field(default={}, description="the model's transformers config; read from path")
        image_size: int | None = Field(
            default=None, ge=8, description="side of the input in pixels, by default the model's"
        )
        feature_layer: int | None = Field(
            default=None, description="-2: the last hidden states but one; by default the output"
        )
        drop_class_token: bool = Field(default=True, description="give the patches alone")
        mean: Colours | None = Field(
            default=None, description="of pixels in [0, 1]; by default of preprocessor_config.json"
        )
        std: Colours | None = None

        @classmethod
        def example(cls) -> Self | None:
            if find_spec("transformers") is None:
                return None
            sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
            return cls.model_validate(
                {"architecture": {"model_type": "vit", "image_size": 32, "patch_size": 8, **sizes}}
            )

        def miniature(self) -> Self:
            few = {**self.settings, "num_hidden_layers": 2}
            return self.resolved().model_copy(update={"architecture": few, "path": "", "feature_layer": None})

        def narrow(self) -> Self:
            found = self.resolved()
            return found.model_copy(update={"architecture": narrowed(found.architecture), "path": ""})

        def resolved(self) -> Self:
            """Architecture and normalisation, read from `path` where they are not given."""
            found: dict[str, Any] = {}
            if not self.architecture:
                found["architecture"] = _vision_tower(read_architecture(self.path))
            if self.mean is None or self.std is None:
                found |= normalisation(self.path)
            return self.model_copy(update=found) if found else self

        @property
        def settings(self) -> dict[str, Any]:
            """The architecture, from the config or from `path`; a `ConfigError` for a model type that is not known."""
            settings = self.architecture or self.resolved().architecture
            if (kind := settings.get("model_type")) not in EXTRA_TOKENS:
                fix = "; its pictures are of any size, choose encoder navit" if kind == NAFLEX else ""
                raise ConfigError(f"encoder 'hf-vision': model_type '{kind}' is none of {', '.join(EXTRA_TOKENS)}{fix}")
            return settings

        @property
        def input_size(self) -> tuple[int, int]:
            side = self.image_size or make_config(self.settings, "encoder 'hf-vision'").image_size
            return side, side

        @property
        def grid(self) -> tuple[int, int]:
            side = self.input_size[0] // make_config(self.settings, "encoder 'hf-vision'").patch_size
            return side, side

        @property
        def extra_tokens(self) -> int:
            return EXTRA_TOKENS[self.settings["model_type"]]

        @property
        def tokens(self) -> int:
            return self.grid[0] * self.grid[1] + (0 if self.drop_class_token else self.extra_tokens)

        @property
        def dim(self) -> int:
            return make_config(self.settings, "encoder 'hf-vision'").hidden_size

        def load_pretrained(self, part: HFVision) -> None:
            if self.path:
                inner = {"^vision_model\\.": ""} if self.settings["model_type"] == BLIP_2 else None
                fill(part.model, self.path, "encoder 'hf-vision'", inner)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config = config.resolved()
        settings = make_config({**config.settings, "vision_use_head": False}, "encoder 'hf-vision'")
        import transformers

        options = {"dtype": torch.float32, "attn_implementation": "sdpa"}
        if config.settings["model_type"] == BLIP_2:
            self.model: Any = transformers.Blip2VisionModel._from_config(settings, **options)
        else:
            self.model = transformers.AutoModel.from_config(settings, **options)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # nothing reads it
        native = config.input_size[0] == settings.image_size or config.settings["model_type"] == "dinov2"
        self.options = {} if native else {"interpolate_pos_encoding": True}
        self.skip = config.extra_tokens if config.drop_class_token else 0
        self.normalise = Normalise(config.mean or HALF, config.std or HALF)

    def forward(self, tiles: Tensor) -> Tensor:
        if not len(tiles):  # the wrapped models cannot reshape an empty batch
            return self(tiles.new_zeros(1, *tiles.shape[1:]))[:0]
        pixels, layer = self.normalise(tiles), self.config.feature_layer
        outputs = self.model(pixel_values=pixels, output_hidden_states=layer is not None, **self.options)
        hidden = outputs.last_hidden_state if layer is None else outputs.hidden_states[layer]
        return hidden[:, self.skip :]

    def shard_units(self) -> list[nn.Module]:
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.model.config.num_hidden_layers:
                return list(module)
        return [self]


def _vision_tower(architecture: dict[str, Any]) -> dict[str, Any]:
    """The vision part of a two-tower config, with the model type that `AutoModel` knows it by."""
    if "vision_config" not in architecture:
        return architecture
    tower = dict(architecture["vision_config"])
    tower["model_type"] = f"{architecture['model_type']}_vision_model".replace("-", "_")
    return tower


def normalisation(path: str) -> dict[str, Colours]:
    """Mean and standard deviation of the folder's preprocessor_config.json, or 0.5 for both."""
    if not path or not has_file(path, "preprocessor_config.json"):
        return {"mean": HALF, "std": HALF}
    data = json.loads(find_file(path, "preprocessor_config.json").read_text())
    return {"mean": tuple(data.get("image_mean", HALF)), "std": tuple(data.get("image_std", HALF))}
