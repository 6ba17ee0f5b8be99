"""Published checkpoints, written by `transformers` with random weights: read, compared, written back, read by it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from published import (
    PICTURED,
    SIZES,
    SPECIALS,
    VOCAB,
    folder_of,
    noise,
    original_layout,
    same_logits,
    same_replies,
    seen_by,
    shaken,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor
from toy import toy_model
from typer.testing import CliRunner

from sensorium.cli import app
from sensorium.data.batch import collate
from sensorium.errors import ConfigError, LayoutError
from sensorium.families.exporting import stock_family, write_stock
from sensorium.families.importing import read_published
from sensorium.sample import Image, Sample, Text, as_sample
from sensorium.training.checkpoint import load_model

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
LANGUAGES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 96},
    "qwen2": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "phi3": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "phi": {},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
}
CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
torch.set_num_threads(1)


def language(kind: str) -> Any:
    settings = {"vocab_size": VOCAB, "max_position_embeddings": 128, **SIZES, **LANGUAGES[kind]}
    return shaken(transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **settings)))


def llava(tower: str = "clip_vision_model", width: int = 16, **more: Any) -> Any:
    vision = {"model_type": tower, "image_size": 28, "patch_size": 7, **SIZES, "hidden_size": width}
    text = {"model_type": "llama", "vocab_size": VOCAB, "max_position_embeddings": 256, **SIZES}
    config = transformers.LlavaConfig(
        vision_config=transformers.AutoConfig.for_model(**vision),
        text_config=transformers.AutoConfig.for_model(**text), image_token_index=3, **more,
    )  # fmt: skip
    return shaken(transformers.LlavaForConditionalGeneration(config))


@pytest.mark.parametrize("kind", LANGUAGES)
@torch.no_grad()
def test_language_models_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    theirs = language(kind)
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    assert sum(account.parameters.values()) == theirs.num_parameters()
    samples = [as_sample([Text(text, role="document")]) for text in ("a short text", "and another one, longer")]
    rows = collate([[model.layout(sample) for sample in samples]], model.layout)  # packed into one row
    packed, start = model.head(model(rows))[0], 0
    for sample, found in zip(samples, model.logits(samples), strict=True):
        ids = torch.tensor(model.layout(sample).ids)[None]
        wanted = theirs(input_ids=ids).logits[0]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(packed[start : start + len(wanted)], wanted, rtol=1e-4, atol=1e-4)
        start += len(wanted)
    written = write_stock(model, tmp_path / "back")
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(again).__name__ == type(theirs).__name__ == written.stock
    torch.testing.assert_close(again(input_ids=ids).logits, theirs(input_ids=ids).logits, rtol=0, atol=0)
    model, _ = read_published(tmp_path / "back")
    torch.testing.assert_close(model.logits(samples[-1:])[0], found, rtol=0, atol=0)


@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model"])
@torch.no_grad()
def test_llava_is_that_of_transformers(tower: str, tmp_path: Path) -> None:
    strategy = {"siglip_vision_model": "full"}.get(tower, "default")
    theirs = llava(tower, vision_feature_select_strategy=strategy)
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    same_logits(theirs, model)


@torch.no_grad()
def test_llava_writes_what_transformers_writes(tmp_path: Path) -> None:
    theirs = llava()
    model, _ = read_published(folder_of(theirs, tmp_path / "theirs"))
    same_replies(theirs, model, [Sample(sample.segments[:-1], id="p") for sample in PICTURED])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@torch.no_grad()
def test_exported_llava_is_loaded_unchanged(fit: str, tmp_path: Path) -> None:
    """transformers' own processor and class, on a picture and a chat, give the logits that ours gives."""
    model, _ = read_published(folder_of(llava(), tmp_path / "theirs"), changes=_tiling(fit))
    written = write_stock(model, tmp_path / "back")
    assert (written.family, written.stock, written.added) == ("llava-hf", "LlavaForConditionalGeneration", ())
    theirs, info = transformers.LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "back", output_loading_info=True
    )
    assert not any(info.values())
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    for size in ((28, 28), (40, 20)):
        picture = noise(3, size)
        inputs = processor(images=PILImage.open(io.BytesIO(picture)), text=text, return_tensors="pt")
        sample = as_sample([Image(picture, role="user"), Text("what?", role="user")])
        laid = model.layout(sample, reply="assistant")
        batch = collate([[laid]], model.layout)
        assert torch.where(batch.media, 3, batch.ids)[0, : len(laid)].tolist() == inputs["input_ids"][0].tolist()
        ours = model.encoder.normalise(batch.tiles)  # type: ignore[operator]
        # two levels of 255, over a deviation of 0.26; where padding begins, they resize it with the picture
        rounding = 1e-5 if size == (28, 28) else 0.2 if fit == "pad" else 0.03
        assert (ours - inputs["pixel_values"]).abs().max() < rounding
        if size == (28, 28):
            logits = theirs(**inputs).logits[0]
            torch.testing.assert_close(model.head(model(batch))[0, : len(laid)], logits, rtol=1e-4, atol=1e-4)
    again, _ = read_published(tmp_path / "back")
    assert again.config.to_dict()["tiling"] == model.config.to_dict()["tiling"]
    for one, other in zip(again.logits(PICTURED), model.logits(PICTURED), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def _tiling(fit: str) -> tuple[str, ...]:
    return (f"tiling.fit={fit}", *(["tiling.fill=[122, 116, 104]"] if fit == "pad" else []))


@pytest.mark.parametrize("kind", ["llava", "bunny-llama"])
@torch.no_grad()
def test_original_layouts_are_the_same_model(kind: str, tmp_path: Path) -> None:
    """What transformers saves, under the keys of LLaVA's and Bunny's own code, in two shards of torch.save."""
    tower, wide = ("clip_vision_model", 128) if kind == "llava" else ("siglip_vision_model", 144)
    layer, strategy = (-2, "default") if kind == "llava" else (-1, "full")
    theirs = llava(tower, wide, vision_feature_layer=layer, vision_feature_select_strategy=strategy)
    model, account = read_published(original_layout(theirs, kind, tmp_path))
    assert not account.new
    same_logits(theirs, model)
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(ConfigError, match=r"shard pytorch_model-00001-of-00002.bin is missing, with 10 tensors"):
        read_published(tmp_path)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_two_towers_come_and_go(kind: str, tmp_path: Path) -> None:
    vision = {**SIZES, "image_size": 28, "patch_size": 7}
    text = {**SIZES, "vocab_size": len(SPECIALS) + 256, "max_position_embeddings": 24, "eos_token_id": 5}
    auto = transformers.AutoConfig.for_model(kind, vision_config=vision, text_config=text, **(
        {"projection_dim": 12} if kind == "clip" else {}
    ))  # fmt: skip
    theirs = shaken(transformers.AutoModel.from_config(auto))
    model, account = read_published(folder_of(theirs, tmp_path / "theirs", eos_token="<|im_end|>"))
    assert not account.new
    assert sum(account.parameters.values()) == theirs.num_parameters()
    texts, pictures = ("a dog", "two dogs and a cat"), (noise(1), noise(2))
    ours = model.embed([[Text(text, role="document")] for text in texts] + [[Image(p)] for p in pictures])
    laid = [model.layout(as_sample([Text(text, role="document")])).ids.tolist() for text in texts]
    padded = torch.tensor([ids + [0] * (24 - len(ids)) for ids in laid])
    tiles = torch.stack([torch.from_numpy(np.array(PILImage.open(io.BytesIO(p)))).permute(2, 0, 1) for p in pictures])
    pixels = model.encoder.normalise(tiles)  # type: ignore[operator]
    wanted = theirs(input_ids=padded, pixel_values=pixels)
    torch.testing.assert_close(ours, torch.cat([wanted.text_embeds, wanted.image_embeds]), rtol=1e-4, atol=1e-4)

    written = write_stock(model, tmp_path / "back")
    assert written.stock == type(theirs).__name__
    again, info = transformers.AutoModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values())
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    images = [PILImage.open(io.BytesIO(p)) for p in pictures]
    inputs = processor(text=list(texts), images=images, padding="max_length", max_length=24, return_tensors="pt")
    found = again(**inputs)
    torch.testing.assert_close(found.logits_per_image, wanted.logits_per_image, rtol=1e-4, atol=1e-4)
    model, _ = read_published(tmp_path / "back")
    again = model.embed([[Text(text, role="document")] for text in texts] + [[Image(p)] for p in pictures])
    torch.testing.assert_close(again, ours, rtol=0, atol=0)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    folder = folder_of(language("llama"), tmp_path / "theirs")
    state = load_file(folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())

    def refused(match: str, tensors: dict[str, Tensor] | None = None, **changes: Any) -> None:
        (folder / "config.json").write_text(json.dumps(settings | changes))
        save_file(state if tensors is None else tensors, folder / "model.safetensors")
        with pytest.raises(ConfigError, match=match):
            read_published(folder)

    norm = "model.norm.weight"
    refused(r"unknown model_type 'lama': did you mean 'llama'", model_type="lama")
    refused(r"'model.norm.weight' has shape \[8\]; its config says \[16\]", state | {norm: torch.zeros(8)})
    refused(r"lacks 1 tensors .* 'backbone.model.model.norm.weight'", {k: v for k, v in state.items() if k != norm})
    refused(r"unknown key 'modal.x': did you mean", state | {"modal.x": torch.zeros(1)})
    refused(r"'model.x' would be our 'backbone.model.model.x'", state | {"model.x": torch.zeros(1)})
    refused(r"differs from the tensor that its config ties it to", tie_word_embeddings=True)
    refused(r"weights are quantised", quantization_config={"bits": 4})
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"model.safetensors: cut short or not a safetensors file"):
        read_published(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no weights: expected model.safetensors or"):
        read_published(folder)
    with pytest.raises(ConfigError, match=r"does not exist; give the folder of a published checkpoint"):
        read_published(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"not a published checkpoint: config.json names no .*; found nothing"):
        read_published(tmp_path / "empty")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, (TRAP, "w")


TRAP = "trap-was-sprung"


def test_a_pickle_with_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(language("llama"), tmp_path / "theirs")
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin: is cut short, or holds more than tensors"):
        read_published(folder)
    assert not Path(TRAP).exists()
    outside = {"weight_map": {"model.norm.weight": "../elsewhere.bin"}}
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(outside))
    with pytest.raises(ConfigError, match=r"names the shard '../elsewhere.bin', which is not in this folder"):
        read_published(folder)


def test_import_and_export_as_commands(tmp_path: Path) -> None:
    folder = folder_of(language("qwen2"), tmp_path / "theirs", CHATML)
    save_file(load_file(folder / "model.safetensors") | {"model.rotary_emb.inv_freq": torch.ones(4)},
              folder / "model.safetensors")  # fmt: skip
    ours, back = tmp_path / "ours", tmp_path / "back"
    result = CliRunner().invoke(app, ["import", str(folder), str(ours), "context=100", "--json"])
    assert result.exit_code == 0, result.output
    account = json.loads(result.stdout)
    assert account["left"] == {"model.rotary_emb.inv_freq": "computed from the config"}
    assert account["loaded"]["model.norm.weight"] == "backbone.model.model.norm.weight"
    result = CliRunner().invoke(app, ["export", str(ours), str(back)])
    assert result.exit_code == 0, result.output
    assert "Qwen2ForCausalLM" in result.output
    tokenizer = transformers.AutoTokenizer.from_pretrained(back)
    original = transformers.AutoTokenizer.from_pretrained(folder)
    said = [{"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "yes"), ("user", "a"))]
    for messages in (said, [{"role": "system", "content": "be brief"}, *said]):
        wanted = original.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == wanted
        model = load_model(ours)
        sample = as_sample([Text(m["content"], role=m["role"]) for m in messages])  # type: ignore[arg-type]
        laid = model.layout(sample, reply="assistant").ids.tolist()
        assert laid == tokenizer.encode(wanted, add_special_tokens=False)
    with pytest.raises(LayoutError, match="reads text alone"):
        load_model(ours).logits(PICTURED[:1])


def test_what_stands_in_the_way_of_an_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"equals no stock class") as error:
        write_stock(toy_model(), tmp_path / "out")
    assert "backbone 'decoder'" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_phi_inside_llava_is_no_stock_class(tmp_path: Path) -> None:
    """transformers' LLaVA has no bias behind its language model, and would drop that of Phi-2 without a word."""
    model, _ = read_published(folder_of(llava(), tmp_path))
    phi = {"type": "hf", "architecture": language("phi").config.to_dict()}
    config = type(model.config).from_dict({**model.config.to_dict(), "backbone": phi})
    with pytest.raises(ConfigError, match=r"llava-hf: backbone 'hf': the output of Phi-2 has a bias"):
        stock_family(config)


@torch.no_grad()
def test_a_model_without_the_picture_token_gets_it(tmp_path: Path) -> None:
    """Rows are added for `<image>`, which a vocabulary may lack, and generation never writes it."""
    model, _ = read_published(folder_of(llava(), tmp_path / "theirs"))
    rust = json.loads(model.tokenizer.rust.to_str())
    assert rust["added_tokens"].pop(3)["content"] == "<image>"
    rust["model"]["vocab"]["other"] = rust["model"]["vocab"].pop("<image>")
    model.tokenizer = type(model.tokenizer)(RustTokenizer.from_str(json.dumps(rust)), "<pad>")
    extra = [f"<{i}>" for i in range(VOCAB - model.tokenizer.vocab_size)]
    model.tokenizer = model.tokenizer.with_specials(extra)
    written = write_stock(model, tmp_path / "back")
    assert written.added == ("<image>",)
    theirs, info = transformers.LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "back", output_loading_info=True
    )
    assert not any(info.values())
    assert theirs.config.image_token_index == VOCAB
    assert theirs.generation_config.suppress_tokens == [VOCAB]
    want = seen_by(theirs, model, PICTURED[0])
    torch.testing.assert_close(model.logits(PICTURED[:1])[0], want[:, :VOCAB], rtol=1e-4, atol=1e-4)
