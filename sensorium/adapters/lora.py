"""Low-rank adaptation (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.adapters.adapters import Adapters
from sensorium.backbones.backbone import Backbone
from sensorium.errors import ConfigError


class LoRA(Adapters, name="lora"):
    """Adds `alpha / rank * B A dropout(x)` to linear maps of the backbone's layers (section 4.1, eq. 3); B starts at
    zero, so at once after attaching the function is unchanged."""

    class Config(Adapters.Config):
        rank: int = Field(default=16, ge=1)
        alpha: float = Field(default=32, gt=0)
        dropout: float = Field(default=0.0, ge=0, lt=1)
        targets: tuple[str, ...] = Field(
            default=(), description="last names of the linear maps that are adapted; by default all in the layers"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        self.hooks: list[Any] = []

    @property
    def scale(self) -> float:
        return self.config.alpha / self.config.rank

    def attach(self, backbone: Backbone) -> None:
        for name, linear in self._linears(backbone).items():
            weight = linear.weight
            down = torch.empty(self.config.rank, linear.in_features, dtype=weight.dtype, device=weight.device)
            self.down[name] = nn.Parameter(nn.init.kaiming_uniform_(down, a=math.sqrt(5)))
            self.up[name] = nn.Parameter(weight.new_zeros(linear.out_features, self.config.rank))
            self.hooks.append(linear.register_forward_hook(partial(self._add, name)))

    def _add(self, name: str, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        low = nn.functional.linear(self.dropout(inputs[0]), self.down[name])
        return output + self.scale * nn.functional.linear(low, self.up[name])

    @torch.no_grad()
    def merge(self, backbone: Backbone) -> None:
        for name, linear in self._linears(backbone).items():
            linear.weight += self.scale * self.up[name] @ self.down[name]
        for hook in self.hooks:
            hook.remove()

    def _linears(self, backbone: Backbone) -> dict[str, nn.Linear]:
        """The adapted maps, by their place: `LAYER/NAME`, in which a dot of a module's name is a slash."""
        found = {
            f"{index}/{name.replace('.', '/')}": module
            for index, layer in enumerate(backbone.layers)
            for name, module in layer.named_modules()
            if isinstance(module, nn.Linear)
        }
        targets = self.config.targets or {name.rsplit("/", 1)[-1] for name in found}
        if unknown := sorted(set(targets) - {name.rsplit("/", 1)[-1] for name in found}):
            known = ", ".join(sorted({name.rsplit("/", 1)[-1] for name in found}))
            raise ConfigError(
                f"adapters 'lora': no linear map of the layers is called '{unknown[0]}'; there are {known}"
            )
        return {name: module for name, module in found.items() if name.rsplit("/", 1)[-1] in targets}
