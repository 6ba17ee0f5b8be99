"""BERT-like models of Hugging Face `transformers`, sentence encoders among them, as text towers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.backbones.backbone import Attention, Backbone
from sensorium.errors import ConfigError
from sensorium.interop.pretrained import fill, make_config, narrowed, read_architecture

WHAT = "backbone 'hf-encoder'"
FIRST_POSITION = {"bert": 0, "roberta": None, "xlm-roberta": None, "camembert": None}
"""Known model types, and the number of the first position; None: one behind that of padding (RoBERTa's way)."""


class HFEncoder(Backbone, name="hf-encoder"):
    """Wraps `AutoModel` for a folder of BERT, RoBERTa, XLM-RoBERTa or CamemBERT. Its marks (`[CLS]`, `[SEP]`)
    are the chat template's to write. Attention is the fusion's to say; these models were trained both ways."""

    class Config(Backbone.Config):
        path: str = Field(default="", description="a local folder with config.json and safetensors")
        architecture: dict[str, Any] = Field(default={}, description="the model's transformers config; read from path")

        @classmethod
        def example(cls) -> Self | None:
            if find_spec("transformers") is None:
                return None
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
            return cls.model_validate({"architecture": {"model_type": "bert", "vocab_size": 64, **sizes}})

        def miniature(self) -> Self:
            few = {**self.settings, "num_hidden_layers": 2}
            return self.model_copy(update={"architecture": few, "path": ""})

        def narrow(self) -> Self:
            return self.model_copy(update={"architecture": narrowed(self.resolved().architecture), "path": ""})

        def resolved(self) -> Self:
            if self.architecture:
                return self
            return self.model_copy(update={"architecture": read_architecture(self.path)})

        @property
        def settings(self) -> dict[str, Any]:
            """The architecture, from the config or from `path`; a `ConfigError` for a model type that is not known."""
            settings = self.resolved().architecture
            if (kind := settings.get("model_type")) not in FIRST_POSITION:
                raise ConfigError(f"{WHAT}: model_type '{kind}' is none of {', '.join(FIRST_POSITION)}")
            return settings

        @property
        def dim(self) -> int:
            return make_config(self.settings, WHAT).hidden_size

        @property
        def first_position(self) -> int:
            first = FIRST_POSITION[self.settings["model_type"]]
            return make_config(self.settings, WHAT).pad_token_id + 1 if first is None else first

        @property
        def max_positions(self) -> int | None:
            if not self.architecture:  # recipes are read where the folder need not be
                return None
            return make_config(self.settings, WHAT).max_position_embeddings - self.first_position

        def load_pretrained(self, part: HFEncoder) -> None:
            if self.path:
                fill(part.model, self.path, WHAT)

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config = config.resolved()
        settings = make_config({**config.settings, "is_decoder": True}, WHAT)  # only decoders keep keys and values
        from transformers import AutoModel

        self.model: Any = AutoModel.from_config(
            settings, dtype=torch.float32, attn_implementation="sdpa", add_pooling_layer=False
        )
        self.first_position = config.first_position
        if vocab_size > len(self.model.get_input_embeddings().weight):
            raise ConfigError(
                f"{WHAT}: the tokenizer has {vocab_size} tokens and the model embeds "
                f"{len(self.model.get_input_embeddings().weight)}; use the model's own tokenizer"
            )

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention, cache: Any | None = None) -> Tensor:
        kept = {} if cache is None else {"past_key_values": cache}
        return self.model(
            inputs_embeds=embeddings,
            attention_mask=attention.mask,
            position_ids=positions + self.first_position,
            use_cache=cache is not None,
            **kept,
        ).last_hidden_state

    def new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()

    def output_weight(self) -> Tensor:
        return self.model.get_input_embeddings().weight

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layer
