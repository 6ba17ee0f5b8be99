"""Modality experts: the dense formula of the paper, the model they begin as, and text that passes by them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import Toy, toy_model, toy_recipe

from sensorium.backbones.backbone import Attention
from sensorium.checks import run_checks
from sensorium.data.batch import Batch, collate
from sensorium.errors import ConfigError
from sensorium.model import Model

EXPERTS = "model.fusion=modality-experts"
LLAMA = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": True,
}  # fmt: skip
HF = ("model.backbone=hf", f"model.backbone.architecture={LLAMA}")
CASES = {
    "feed-forward": (EXPERTS,),
    "attention too, in one layer": (
        EXPERTS,
        "model.fusion.modules=[gate,up,down,q,k,v,out]",
        "model.fusion.layers=[1]",
    ),
    "hf": (
        *HF,
        EXPERTS,
        "model.fusion.modules=[mlp,self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.o_proj]",
    ),
}


class Dense(nn.Module):
    """`out = module(x) (1 - m) + twin(x) m`, both computed for all tokens (specification, section 8.1)."""

    def __init__(self, module: nn.Module, twin: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self.module, self.twin, self.mask = module, twin, mask

    def forward(self, x: Tensor) -> Tensor:
        m = self.mask[..., None].to(x.dtype)
        return self.module(x) * (1 - m) + self.twin(x) * m


def model_of(case: str) -> tuple[Model, Batch]:
    if case == "hf":
        pytest.importorskip("transformers")
    model = toy_model(*CASES[case]).eval()
    laid = [model.layout(Toy(Toy.Config())[i]) for i in (0, 4, 3)]
    return model, collate([laid[:2], laid[2:]], model.layout)


def plain(model: Model, batch: Batch) -> Tensor:
    """Hidden states of the language model without experts, pictures in the sequence."""
    embedded = model.fusion(model.backbone.embed(batch.ids), model.media(batch), batch)
    return model.backbone(embedded, batch.positions, Attention.within(batch.documents))


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_each_token_is_computed_as_by_the_dense_formula(case: str) -> None:
    model, batch = model_of(case)
    for weight in model.fusion.parameters():
        weight.add_(torch.randn_like(weight) * 0.2)
    found = model(batch)
    twins: Any = model.fusion.twins
    assert not torch.allclose(found, plain(model, batch), atol=1e-2)
    layers, config = model.backbone.layers, model.config.fusion
    for number in config.layers or range(len(layers)):  # type: ignore[union-attr]
        for name in config.modules:  # type: ignore[union-attr]
            owner, _, last = name.rpartition(".")
            module = layers[number].get_submodule(name)
            dense = Dense(module, twins[f"{number}-{name.replace('.', '-')}"], batch.media)
            setattr(layers[number].get_submodule(owner), last, dense)
    torch.testing.assert_close(found, plain(model, batch), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_it_begins_as_the_language_model(case: str) -> None:
    model, batch = model_of(case)
    torch.testing.assert_close(model(batch), plain(model, batch), rtol=1e-5, atol=1e-5)
    for weight in model.backbone.parameters():  # as if weights were read from elsewhere
        weight.add_(torch.randn_like(weight) * 0.1)
    model.fusion.begin(model.backbone)
    torch.testing.assert_close(model(batch), plain(model, batch), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_text_alone_is_the_language_models_to_the_bit_and_only_media_reach_twins() -> None:
    model, batch = model_of("feed-forward")
    for weight in model.fusion.parameters():
        weight.add_(1)
    text = collate([[model.layout(Toy(Toy.Config())[4])]], model.layout)
    assert torch.equal(model(text), plain(model, text))
    counts: list[int] = []
    for module in (model.fusion.twins["0-gate"], model.backbone.layers[0].gate):  # type: ignore[index, union-attr]
        module.register_forward_hook(lambda _module, given, _out: counts.append(given[0].numel() // 32))  # type: ignore[union-attr]
    model(batch)
    media = int(batch.media.sum())
    assert sorted(counts) == sorted([media, batch.ids.numel() - media])


def test_invariants_hold_for_the_toy_recipe() -> None:
    recipe = toy_recipe(*CASES["attention too, in one layer"])
    found = list(run_checks(recipe, ["leak", "no-images", "gradients", "cached-generation"], samples=12))
    assert [str(verdict) for verdict in found if not verdict.passed] == []


def test_errors_name_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no module 'mlp'.*linear ones are q, k, v, out, gate, up, down"):
        toy_model(EXPERTS, "model.fusion.modules=[mlp]")
    with pytest.raises(ConfigError, match=r"layers 0 to 1 and no 2"):
        toy_model(EXPERTS, "model.fusion.layers=[2]")
    with pytest.raises(ConfigError, match=r"'mlp.up_proj' is part of another"):
        toy_model(EXPERTS, "model.fusion.modules=[mlp,mlp.up_proj]")
    with pytest.raises(ConfigError, match=r"named twice"):
        toy_model(EXPERTS, "model.fusion.modules=[up,up]")
