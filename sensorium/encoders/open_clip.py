"""The vision tower of a CLIP that open_clip published: LAION's, DataComp's, DFN's (arXiv 2309.17425)."""

from __future__ import annotations

from typing import Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.assets import find_file
from sensorium.encoders.encoder import Encoder
from sensorium.encoders.vit import ViT
from sensorium.errors import ConfigError
from sensorium.interop.fill import fill
from sensorium.interop.open_clip import WEIGHTS, read_config, vision_config, vision_tensors
from sensorium.interop.tensors import read_tensors


class OpenCLIP(Encoder, name="open-clip"):
    """Our `vit` with the weights of a folder that holds open_clip_config.json, cut off at the layer that is read. The
    output is normalised and not projected, as xGen-MM's first release reads DFN's ViT-H."""

    class Config(Encoder.Config):
        path: str = Field(default="", description="a local folder with open_clip_config.json and weights")
        tower: ViT.Config | None = Field(default=None, description="the tower's dimensions; read from path")
        image_size: int | None = Field(default=None, ge=8, description="side of the input; by default the tower's")
        feature_layer: int | None = Field(
            default=None, description="-2: what leaves the last layer but one, not normalised; by default the output"
        )
        drop_class_token: bool = Field(default=True, description="give the patches alone")

        @classmethod
        def example(cls) -> Self:
            sizes = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 2, "num_heads": 2, "stem": "patch"}
            return cls.model_validate({"tower": {**sizes, "class_token": True, "initial_norm": True}})

        def miniature(self) -> Self:
            found = self.resolved()
            changes = {"tower": found.known.miniature(), "path": "", "feature_layer": None}
            return found.model_copy(update=changes)

        def resolved(self) -> Self:
            """With the dimensions of `path`, where they are not given."""
            return self if self.tower else self.model_copy(update={"tower": self.known})

        @property
        def known(self) -> ViT.Config:
            """The tower as it was published."""
            if self.tower is not None:
                return self.tower
            found = vision_config(read_config(self.path))
            if found["type"] != "vit":
                raise ConfigError(
                    f"encoder 'open-clip': {self.path} is a ResNet; import the folder whole (sensorium import)"
                )
            return ViT.Config.from_dict(found, where=self.path)

        @property
        def cut(self) -> ViT.Config:
            """The tower as it is built: down to the layer that is read, for the pictures that are given."""
            tower, changes = self.known, {}
            if self.image_size is not None:
                changes["image_size"] = self.image_size
            if (layer := self.feature_layer) is not None:
                if not -tower.depth - 1 <= layer <= tower.depth:
                    raise ConfigError(f"encoder 'open-clip': feature_layer is {layer}, the tower has {tower.depth}")
                changes |= {"depth": layer % (tower.depth + 1), "final_norm": False}
            return tower.model_copy(update=changes)

        @property
        def input_size(self) -> tuple[int, int]:
            return self.cut.input_size

        @property
        def grid(self) -> tuple[int, int]:
            return self.cut.grid

        @property
        def tokens(self) -> int:
            return self.grid[0] * self.grid[1] + (not self.drop_class_token)

        @property
        def dim(self) -> int:
            return self.known.dim

        def load_pretrained(self, part: OpenCLIP) -> None:
            """Fill from `path`. A missing, unknown or misshapen tensor of the tower is a `ConfigError`."""
            if not self.path:
                return
            file = find_file(self.path, *WEIGHTS)
            given = vision_tensors(read_tensors(file))
            if self.image_size is not None:
                given = part.tower.carried(given)
            cut = self.cut
            unread = [f"blocks.{i}." for i in range(cut.depth, self.known.depth)] + ["norm."] * (not cut.final_norm)
            read = {key: value for key, value in given.items() if not key.startswith(tuple(unread))}
            fill(part.tower, read, f"the encoder 'open-clip' ({file})")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config = config.resolved()
        self.tower: ViT = config.cut.build()
        self.skip = int(config.drop_class_token)

    def forward(self, tiles: Tensor) -> Tensor:
        return self.tower(tiles)[:, self.skip :]

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.tower.carried_below("tower.", state)

    def shard_units(self) -> list[nn.Module]:
        return self.tower.shard_units()
