"""Any causal language model of Hugging Face `transformers` as a backbone."""

from __future__ import annotations

from importlib.util import find_spec
from inspect import signature
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.backbones.backbone import Attention, Backbone
from sensorium.errors import ConfigError
from sensorium.interop.pretrained import fill, make_config, read_architecture

CHANGED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Config keys of models whose logits are not `hidden @ weight`: a token head would be silently wrong."""


class HFCausal(Backbone, name="hf"):
    """Wraps `AutoModelForCausalLM`. `transformers` is imported when a model is built, not before.

    Masks reach the model as they are given, so a layer with a sliding window attends to the whole sample: exact as
    long as samples are no longer than the window.
    """

    class Config(Backbone.Config):
        path: str = Field(
            default="", description="a local folder or GGUF file, or package:NAME of an installed package"
        )
        architecture: dict[str, Any] = Field(default={}, description="the model's transformers config; read from path")
        layers: int | None = Field(
            default=None, ge=1, description="keep the first so many, as text towers may; by default all"
        )

        @classmethod
        def example(cls) -> Self | None:
            if find_spec("transformers") is None:
                return None
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
            llama = {"model_type": "llama", "vocab_size": 64, "intermediate_size": 64, "tie_word_embeddings": True}
            return cls.model_validate({"architecture": {**llama, **sizes}})

        def miniature(self) -> Self:
            few = {**self.resolved().architecture, "num_hidden_layers": 2}
            return self.model_copy(update={"architecture": few, "path": "", "layers": None})

        def resolved(self) -> Self:
            architecture = self.architecture or read_architecture(self.path)
            if self.layers is not None:
                depth = architecture.get("num_hidden_layers", self.layers)
                if self.layers > depth:
                    raise ConfigError(f"backbone 'hf': layers is {self.layers} and the model has {depth}")
                architecture = {**architecture, "num_hidden_layers": self.layers}
            return self.model_copy(update={"architecture": architecture})

        @property
        def dim(self) -> int:
            return make_config(self.resolved().architecture, "backbone 'hf'").get_text_config().hidden_size

        @property
        def vocab_size(self) -> int:
            return make_config(self.resolved().architecture, "backbone 'hf'").get_text_config().vocab_size

        def load_pretrained(self, part: HFCausal) -> None:
            if self.path:
                fill(part.model, self.path, "backbone 'hf'")

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        settings = make_config(config.resolved().architecture, "backbone 'hf'")
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_config(settings, dtype=torch.float32, attn_implementation="sdpa")
        known = signature(self.model.base_model.forward).parameters
        self.cache_name = "cache" if "cache" in known else "past_key_values"
        self._check(vocab_size)

    def _check(self, vocab_size: int) -> None:
        settings, head = self.model.config.get_text_config(), self.model.get_output_embeddings()
        for key in CHANGED_LOGITS:
            if getattr(settings, key, None) not in (None, 1, 1.0):
                raise ConfigError(f"backbone 'hf': the model changes its logits ({key}); a token head would be wrong")
        if vocab_size > len(head.weight):
            raise ConfigError(
                f"backbone 'hf': the tokenizer has {vocab_size} tokens and the model embeds {len(head.weight)}; use "
                "the model's own tokenizer"
            )

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention, cache: Any | None = None) -> Tensor:
        kept = {} if cache is None else {self.cache_name: cache}
        return self.model.base_model(
            inputs_embeds=embeddings,
            attention_mask=attention.mask,
            position_ids=positions,
            use_cache=cache is not None,
            **kept,
        ).last_hidden_state

    def new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()

    def output_weight(self) -> Tensor:
        return self.model.get_output_embeddings().weight

    def output_bias(self) -> Tensor | None:
        return self.model.get_output_embeddings().bias

    @property
    def layers(self) -> nn.ModuleList:
        depth = self.model.config.get_text_config().num_hidden_layers
        for module in self.model.base_model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == depth:
                return module
        raise ConfigError(f"backbone 'hf': {type(self.model).__name__} has no list of its {depth} layers")
