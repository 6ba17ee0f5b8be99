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
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.families.exporting import write_stock
from sensorium.families.importing import read_published
from sensorium.generation.engine import Sampler, stream
from sensorium.model import Model
from sensorium.sample import Image, Sample, Text, as_sample

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SPECIALS = ("<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>")
VOCAB = 264
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


def write_tokenizer(folder: Path, template: str = "", **settings: Any) -> None:
    """A tokenizer of bytes and a few special tokens, as transformers writes it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({token: i for i, token in enumerate([*SPECIALS, *alphabet])}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(list(SPECIALS))
    rust.save(str(folder / "tokenizer.json"))
    known = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps({**known, "chat_template": template}))


def shaken(theirs: Any) -> Any:
    """Weights that are all random, norms and biases too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return theirs.eval()


def language(kind: str) -> Any:
    settings = {"vocab_size": VOCAB, "max_position_embeddings": 128, **SIZES, **LANGUAGES[kind]}
    return shaken(transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **settings)))


def llava(tower: str = "clip_vision_model", **more: Any) -> Any:
    vision = {"model_type": tower, "image_size": 28, "patch_size": 7, **SIZES}
    text = {"model_type": "llama", "vocab_size": VOCAB, "max_position_embeddings": 128, **SIZES}
    config = transformers.LlavaConfig(
        vision_config=transformers.AutoConfig.for_model(**vision),
        text_config=transformers.AutoConfig.for_model(**text), image_token_index=3, **more,
    )  # fmt: skip
    return shaken(transformers.LlavaForConditionalGeneration(config))


def folder_of(theirs: Any, path: Path, template: str = "", **settings: Any) -> Path:
    theirs.save_pretrained(path)
    write_tokenizer(path, template, **settings)
    return path


def noise(seed: int, size: tuple[int, int] = (28, 28)) -> bytes:
    """A PNG of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


PICTURED = (
    as_sample([Image(noise(0), role="user"), Text("what?", role="user"), Text("red", role="assistant")]),
    as_sample([Text("see", role="user"), Image(noise(1), role="user"), Image(noise(2), role="user"),
               Text("both", role="user"), Text("two", role="assistant")]),
    as_sample([Text("no picture at all", role="user"), Text("none", role="assistant")]),
)  # fmt: skip


def seen_by(theirs: Any, model: Model, sample: Sample) -> Tensor:
    """The reference's logits for one sample, alone and without padding."""
    laid = model.layout(sample)
    batch = collate([[laid]], model.layout)
    ids = torch.where(batch.media, theirs.config.image_token_index, batch.ids)[:, : len(laid)]
    pixels = model.encoder.normalise(batch.tiles) if len(batch.tiles) else None  # type: ignore[operator]
    return theirs(input_ids=ids, pixel_values=pixels).logits[0]


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
    wanted = [seen_by(theirs, model, sample) for sample in PICTURED]
    for found, want in zip(model.logits(PICTURED), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
    laid = [model.layout(sample) for sample in PICTURED]
    hidden = model(collate([laid[:2], laid[2:]], model.layout))  # two packed in a row, one padded
    torch.testing.assert_close(model.head(hidden[1, : len(laid[2])]), wanted[2], rtol=1e-4, atol=1e-4)
    behind = slice(len(laid[0]), len(laid[0]) + len(laid[1]))
    torch.testing.assert_close(model.head(hidden[0, behind]), wanted[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_llava_writes_what_transformers_writes(tmp_path: Path) -> None:
    theirs = llava()
    model, _ = read_published(folder_of(theirs, tmp_path / "theirs"))
    prompts = [Sample(sample.segments[:-1], id="p") for sample in PICTURED]
    laid = [model.layout(prompt, reply="assistant") for prompt in prompts]
    tokens = list(zip(*stream(model, laid, 8, Sampler(0.0, 1.0, 0, model.device)), strict=True))
    for one, found in zip(laid, tokens, strict=True):
        batch = collate([[one]], model.layout)
        ids = torch.where(batch.media, theirs.config.image_token_index, batch.ids)[:, : len(one)]
        options = {"pixel_values": model.encoder.normalise(batch.tiles)} if len(batch.tiles) else {}
        options |= {"max_new_tokens": len(found), "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
        wanted = theirs.generate(input_ids=ids, **options)[0, len(one) :].tolist()
        assert [token for token in found if token is not None] == wanted[: len([t for t in found if t is not None])]


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
