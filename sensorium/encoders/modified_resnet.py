"""The ResNet of CLIP (Radford et al., arXiv 2103.00020, section 2.4) without its attention pool, which is the connector
`attention-pool`. Module names are those of the published weights.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.encoders.encoder import Encoder, Normalise, rounded_up
from sensorium.interop.means import CLIP_MEAN, CLIP_STD

STRIDE, EXPANSION = 32, 4


class ModifiedResNet(Encoder, name="modified-resnet"):
    """Three convolutions before the first stage instead of one, average pooling before every convolution that would
    stride, and the feature map as it leaves the last stage, one token a cell. The defaults are RN50.

    Batch norm makes pictures of a batch depend on each other while it is trained.
    """

    class Config(Encoder.Config):
        image_size: int = Field(
            default=224, ge=32, multiple_of=STRIDE, description="side of the square input in pixels"
        )
        width: int = Field(
            default=64, ge=8, multiple_of=2, description="channels of the first stage; features have 32 x"
        )
        layers: tuple[int, int, int, int] = Field(default=(3, 4, 6, 3), description="blocks of the four stages")
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

        @classmethod
        def example(cls) -> ModifiedResNet.Config:
            return cls(image_size=64, width=8, layers=(1, 2, 1, 1))

        def miniature(self) -> ModifiedResNet.Config:
            return self.model_copy(update={"layers": (1, 1, 1, 1)})

        @property
        def input_size(self) -> tuple[int, int]:
            return self.image_size, self.image_size

        @property
        def grid(self) -> tuple[int, int]:
            return self.image_size // STRIDE, self.image_size // STRIDE

        @property
        def dim(self) -> int:
            return self.width * 8 * EXPANSION

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.mean, config.std)
        half, width = config.width // 2, config.width
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        channels = width
        for number, blocks in enumerate(config.layers):
            inner, stage = width << number, []
            for index in range(blocks):
                stage.append(Bottleneck(channels, inner, 2 if number and not index else 1))
                channels = inner * EXPANSION
            setattr(self, f"layer{number + 1}", nn.Sequential(*stage))

    @property
    def stages(self) -> list[nn.Sequential]:
        return [getattr(self, f"layer{number}") for number in (1, 2, 3, 4)]

    def forward(self, tiles: Tensor) -> Tensor:
        count = len(tiles)
        if not self.training:
            tiles = rounded_up(tiles)
        elif not count:  # batch statistics of nothing do not exist
            return self(tiles.new_zeros(1, *tiles.shape[1:]))[:0]
        hidden = self.normalise(tiles)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            hidden = F.relu(norm(conv(hidden)))
        hidden = F.avg_pool2d(hidden, 2)
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden.flatten(2).transpose(1, 2)[:count]

    def shard_units(self) -> list[nn.Module]:
        return [block for stage in self.stages for block in stage]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut. A stride is average pooling before the last convolution and before
    that of the shortcut, so that no pixel is skipped."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer, self.stride = inner * EXPANSION, stride
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)
        nn.init.zeros_(self.bn3.weight)  # at first a block adds nothing
        self.downsample = None
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(nn.Conv2d(channels, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        if self.stride > 1:
            hidden, x = F.avg_pool2d(hidden, self.stride), F.avg_pool2d(x, self.stride)
        hidden = self.bn3(self.conv3(hidden))
        return F.relu(hidden + (x if self.downsample is None else self.downsample(x)))
