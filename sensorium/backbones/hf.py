"""Any causal language model of Hugging Face `transformers` as a backbone."""

from __future__ import annotations

from importlib.util import find_spec
from inspect import signature
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.backbones.backbone import Apart, Attention, Backbone
from sensorium.errors import ConfigError
from sensorium.interop.pretrained import fill, make_config, narrowed, read_architecture

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
        apart: Apart | None = Field(
            default=None, description="new tokens with embeddings of their own; the head's `apart` says the same"
        )
        output_bias: bool = Field(
            default=False, description="add one to the logits of the model's own tokens, as xGen-MM's weights do"
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

        def narrow(self) -> Self:
            return self.model_copy(update={"architecture": narrowed(self.resolved().architecture), "path": ""})

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
            if self.apart is not None:
                return self.apart.known + self.apart.new
            return make_config(self.resolved().architecture, "backbone 'hf'").get_text_config().vocab_size

        def load_pretrained(self, part: HFCausal) -> None:
            if self.path:
                fill(part.model, self.path, "backbone 'hf'")

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        settings = make_config(config.resolved().architecture, "backbone 'hf'")
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32, attn_implementation="sdpa")
        except ValueError as error:
            kind, why = settings.model_type, str(error).splitlines()[0]
            raise ConfigError(f"backbone 'hf': transformers has no causal model of '{kind}' to use: {why}") from error
        self.model: Any = model
        known = signature(self.model.base_model.forward).parameters
        self.cache_name = "cache" if "cache" in known else "past_key_values"
        self._check(vocab_size)
        rows, width = self.output_weight().shape
        self.bias = nn.Parameter(torch.zeros(rows)) if config.output_bias else None
        self.new_tokens = nn.Embedding(config.apart.new, width) if config.apart else None
        if self.new_tokens is not None:
            nn.init.normal_(self.new_tokens.weight, std=0.02)

    def _check(self, vocab_size: int) -> None:
        settings, head = self.model.config.get_text_config(), self.model.get_output_embeddings()
        for key in CHANGED_LOGITS:
            if getattr(settings, key, None) not in (None, 1, 1.0):
                raise ConfigError(f"backbone 'hf': the model changes its logits ({key}); a token head would be wrong")
        if (apart := self.config.apart) is not None:
            if vocab_size != apart.known + apart.new or apart.known > len(head.weight):
                raise ConfigError(
                    f"backbone 'hf': the tokenizer has {vocab_size} tokens and the model embeds {len(head.weight)}; "
                    f"with apart it takes the first {apart.known} of these and {apart.new} new ones, in this order"
                )
        elif vocab_size > len(head.weight):
            raise ConfigError(
                f"backbone 'hf': the tokenizer has {vocab_size} tokens and the model embeds {len(head.weight)}; use "
                "the model's own tokenizer"
            )

    def embed(self, ids: Tensor) -> Tensor:
        known, apart = self.model.get_input_embeddings(), self.config.apart
        if apart is None or self.new_tokens is None:
            return known(ids)
        new = (ids >= apart.known)[..., None]
        rows = self.new_tokens((ids - apart.known).clamp(min=0))
        return torch.where(new, rows, known(ids.clamp(max=apart.known - 1)))

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
        return self.model.get_output_embeddings().bias if self.bias is None else self.bias

    @property
    def layers(self) -> nn.ModuleList:
        depth = self.model.config.get_text_config().num_hidden_layers
        for module in self.model.base_model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == depth:
                return module
        raise ConfigError(f"backbone 'hf': {type(self.model).__name__} has no list of its {depth} layers")
