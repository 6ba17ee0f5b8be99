"""Experts of one modality inside the layers of the language model (Mono-InternVL, arXiv 2410.08202, section 3.2)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from sensorium.backbones.backbone import Backbone
from sensorium.data.batch import Batch
from sensorium.errors import ConfigError
from sensorium.fusion.inline import Inline


class ModalityExperts(Inline, name="modality-experts"):
    """Features stand in the sequence; the tokens that they are go through twins of some modules of the layers, text
    through the modules themselves, and attention is over all tokens together. Twins begin as copies, so that the new
    model is the language model that it is made of, up to rounding; text without pictures passes by them, to the bit.

    Each token is computed once, by the module that is its own. Twins belong to the fusion: `trainable: [fusion]` trains
    them while the language model rests.
    """

    class Config(Inline.Config):
        modules: tuple[str, ...] = Field(
            default=("gate", "up", "down"),
            min_length=1,
            description="modules of a layer that get a twin, each from one vector to one. The feed-forward of our "
            "decoder is gate, up, down and its attention q, k, v, out; those of a Hugging Face Llama are mlp and "
            "self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj",
        )
        layers: tuple[int, ...] | None = Field(default=None, description="numbers of layers from 0, by default all")

        @field_validator("modules")
        @classmethod
        def _apart(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
            for name in modules:
                if any(f"{name}.".startswith(f"{other}.") for other in modules if other != name):
                    raise ValueError(f"'{name}' is part of another module that is named; name one of them")
            if len(set(modules)) < len(modules):
                raise ValueError("a module is named twice")
            return modules

    config: Config

    def attach(self, backbone: Backbone) -> None:
        self.twins = nn.ModuleDict()
        for key, module in self._originals(backbone):
            self.twins[key] = twin = copy.deepcopy(module).requires_grad_()
            module.register_forward_pre_hook(self._text_alone)
            module.register_forward_hook(partial(self._together, twin))

    def begin(self, backbone: Backbone) -> None:
        for key, module in self._originals(backbone):
            self.twins[key].load_state_dict(module.state_dict())

    def _originals(self, backbone: Backbone) -> Iterator[tuple[str, nn.Module]]:
        """The modules that have twins, each with a name as torch allows it."""
        layers = backbone.layers
        for number in range(len(layers)) if self.config.layers is None else self.config.layers:
            if not 0 <= number < len(layers):
                known = f"the backbone has layers 0 to {len(layers) - 1}"
                raise ConfigError(f"fusion 'modality-experts': {known} and no {number}; change layers")
            inside = dict(layers[number].named_modules())
            for name in self.config.modules:
                if name not in inside:
                    known = ", ".join(key for key, module in inside.items() if isinstance(module, nn.Linear))
                    raise ConfigError(f"fusion 'modality-experts': layer {number} of the backbone has no module "
                                      f"'{name}'; change modules. Its linear ones are {known}")  # fmt: skip
                yield f"{number}-{name.replace('.', '-')}", inside[name]

    def open(self, media: Tensor, batch: Batch) -> Routes:
        return Routes.of(batch.media)

    def next(self, state: Routes) -> None:
        return None  # what is written is text

    def _text_alone(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if (routes := self.state) is None:
            return None
        tokens = given[0].flatten(0, -2)
        routes.waiting[module] = given[0].shape[:-1], tokens[routes.media]
        return (tokens[routes.text], *given[1:])

    def _together(self, twin: nn.Module, module: nn.Module, given: tuple[Any, ...], text: Tensor) -> Tensor | None:
        if (routes := self.state) is None:
            return None
        shape, media = routes.waiting.pop(module)
        return torch.cat([text, twin(media)])[routes.back].unflatten(0, shape)


@dataclass(frozen=True)
class Routes:
    """Which of a batch's tokens, flattened, are of which modality."""

    text: Tensor
    """int64 `[n]`"""
    media: Tensor
    """int64 `[m]`"""
    back: Tensor
    """int64 `[rows * tokens]`: where each token stands in text and media, one after the other"""
    waiting: dict[nn.Module, tuple[torch.Size, Tensor]] = field(default_factory=dict)
    """the shape of what entered a module, and those of it that its twin will be given"""

    @classmethod
    def of(cls, media: Tensor) -> Routes:
        """`media` bool `[rows, tokens]`."""
        there = media.flatten()
        text, features = (~there).nonzero()[:, 0], there.nonzero()[:, 0]
        return cls(text, features, torch.cat([text, features]).argsort())
