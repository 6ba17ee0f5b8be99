"""LLaVA-NeXT, BLIP-2, Idefics as `transformers` writes them, with random weights: read, compared, written back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PILImage
from published import (
    IMAGE,
    PICTURED,
    SIZES,
    VOCAB,
    folder_of,
    noise,
    same_logits,
    same_replies,
    same_tensors,
    seen_by,
    shaken,
    shown,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.errors import ConfigError
from sensorium.families.exporting import write_stock
from sensorium.families.importing import read_published
from sensorium.sample import Image, Sample, Text, as_sample

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
POINTS = [[28, 56], [56, 28], [56, 56], [84, 28]]
VISION = {"image_size": 28, "patch_size": 7, **SIZES}
SIDES = (
    as_sample([Image(noise(0, (70, 33)), role="user"), Text("wide?", role="user"), Text("yes", role="assistant")]),
    as_sample([Image(noise(1, (20, 90)), role="user"), Image(noise(2, (50, 51)), role="user"),
               Text("which?", role="user"), Text("both", role="assistant")]),
    as_sample([Text("no picture at all", role="user"), Text("none", role="assistant")]),
)  # fmt: skip
PROMPTS = [Sample(sample.segments[:-1], id="p") for sample in SIDES]
torch.set_num_threads(1)


def llava_next(tower: str = "clip_vision_model", **more: Any) -> Any:
    text = {"model_type": "mistral", "vocab_size": VOCAB, "max_position_embeddings": 512, "sliding_window": None}
    config = transformers.LlavaNextConfig(
        vision_config=transformers.AutoConfig.for_model(tower, **VISION),
        text_config=transformers.AutoConfig.for_model(**text, **SIZES, num_key_value_heads=1),
        image_token_index=IMAGE, image_grid_pinpoints=POINTS, **more,
    )  # fmt: skip
    return shaken(transformers.LlavaNextForConditionalGeneration(config))


def reloaded(path: Path, kind: str) -> Any:
    """What transformers makes of an exported folder, nothing missing and nothing left over."""
    theirs, info = getattr(transformers, kind).from_pretrained(path, output_loading_info=True)
    assert not any(info.values()), info
    return theirs


@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model"])
@torch.no_grad()
def test_llava_next_is_that_of_transformers(tower: str, tmp_path: Path) -> None:
    theirs = llava_next(tower, vision_feature_select_strategy="default" if "clip" in tower else "full")
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    assert all(".head." in key for key in account.left)
    assert set(account.loaded) | set(account.left) == set(load_file(tmp_path / "theirs" / "model.safetensors"))
    plans = [model.layout.cut(size).plan for size in ((70, 33), (20, 90), (50, 51))]
    assert [(plan.rows, plan.columns) for plan in plans] == [(1, 2), (3, 1), (2, 2)]
    same_logits(theirs, model, SIDES)
    same_replies(theirs, model, PROMPTS)

    written = write_stock(model, tmp_path / "back")
    assert (written.family, written.added) == ("llava-next-hf", ())
    back = reloaded(tmp_path / "back", written.stock)
    assert back.config.image_grid_pinpoints == POINTS
    for sample in SIDES:
        wanted = seen_by(theirs, model, sample)
        torch.testing.assert_close(seen_by(back, model, sample), wanted, rtol=0, atol=0)
    again, _ = read_published(tmp_path / "back")
    same_tensors(again, model)
    for part in ("tiling", "assembly", "template"):
        assert getattr(again.config, part) == getattr(model.config, part)


@pytest.mark.parametrize("layout", ["published", "in memory"])
def test_both_layouts_of_llava_next_are_read(layout: str, tmp_path: Path) -> None:
    """The files of versions before 5, and what version 5 keeps in memory."""
    theirs = llava_next()
    model, _ = read_published(folder_of(theirs, tmp_path))
    written = load_file(tmp_path / "model.safetensors")
    old = {key.replace("vision_tower.", "vision_tower.vision_model."): value for key, value in written.items()}
    state = old if layout == "published" else theirs.state_dict()
    assert set(state) != set(written)
    save_file(dict(state), tmp_path / "model.safetensors")
    again, account = read_published(tmp_path)
    assert set(account.loaded) == set(state)
    same_tensors(again, model)


@pytest.mark.parametrize("template", ["", "{{ '[INST] ' }}"])
@torch.no_grad()
def test_the_processor_of_an_exported_llava_next_does_what_ours_does(template: str, tmp_path: Path) -> None:
    model, _ = read_published(folder_of(llava_next(), tmp_path / "theirs", template))
    theirs = reloaded(tmp_path / "back", write_stock(model, tmp_path / "back").stock)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert text == ("<s>[INST] <image>\nwhat? [/INST]" if template else "<s>USER: <image>\nwhat? ASSISTANT:")
    for size in ((56, 56), (28, 56), (70, 33)):
        picture = noise(3, size)
        inputs = processor(images=PILImage.open(io.BytesIO(picture)), text=text, return_tensors="pt")
        laid = model.layout(as_sample([Image(picture, role="user"), Text("what?", role="user")]), reply="assistant")
        ours = shown(theirs, model, laid)
        assert ours["input_ids"].tolist() == inputs["input_ids"].tolist()
        assert ours["image_sizes"].tolist() == inputs["image_sizes"].tolist()
        theirs_pixels = inputs["pixel_values"][0]
        if size != (70, 33):  # cells are cut, not resized, and the thumbnail is
            assert (ours["pixel_values"][1:] - theirs_pixels[1:]).abs().max() < 1e-5
        assert (ours["pixel_values"] - theirs_pixels).abs().max() < 0.03, "two levels of 255, over 0.26"
        hidden = model(collate([[laid]], model.layout))[0, : len(laid)]
        logits = theirs(**{**inputs, "pixel_values": ours["pixel_values"]}).logits[0]
        torch.testing.assert_close(model.head(hidden), logits, rtol=1e-4, atol=1e-4)
    again, _ = read_published(tmp_path / "back")
    assert again.config.template == model.config.template


def refusing(folder: Path) -> Any:
    """Asserts that a folder is refused with a message, its config or tensors changed."""
    state, settings = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())

    def refused(match: str, tensors: dict[str, Tensor] | None = None, **changes: Any) -> None:
        (folder / "config.json").write_text(json.dumps(settings | changes))
        save_file(state if tensors is None else state | tensors, folder / "model.safetensors")
        with pytest.raises(ConfigError, match=match):
            read_published(folder)

    return refused


def test_what_is_wrong_with_a_folder_of_llava_next_is_named(tmp_path: Path) -> None:
    refused = refusing(folder_of(llava_next(), tmp_path))
    refused(r"unknown key 'image_newlines.x': did you mean", {"image_newlines.x": torch.zeros(1)})
    refused(r"'image_newline' has shape \[8\]; its config says \[16\] \(our 'assembly.newline'\)",
            {"image_newline": torch.zeros(8)})  # fmt: skip
    refused(r"image_grid_pinpoints has \[28, 50\], which tiles of 28 pixels do not fill",
            image_grid_pinpoints=[[28, 56], [28, 50]])  # fmt: skip
    refused(r"'full' keeps a class token, which has no place", vision_feature_select_strategy="full")
    refused(r"vision_feature_layer names several layers", vision_feature_layer=[-2, -1])
    siglip = transformers.AutoConfig.for_model("siglip_vision_model", **VISION).to_dict()
    refused(r"'default' drops the first feature, which with 'siglip_vision_model'", vision_config=siglip)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_grid_pinpoints": [[56, 56]]}))
    refused(r"image_grid_pinpoints is .* in config.json and \[\[56, 56\]\] in the image processor's")


def test_what_keeps_a_composition_from_being_llava_next_is_named(tmp_path: Path) -> None:
    model, _ = read_published(folder_of(llava_next(), tmp_path), changes=("tiling.fill=[9, 9, 9]",))
    with pytest.raises(ConfigError, match=r"llava-next-hf: tiling.fill is \(9, 9, 9\): it is \(0, 0, 0\) there"):
        write_stock(model, tmp_path / "out")
    changes = {
        "assembly=tiles": "assembly 'tiles': padding is cut away and rows end with image_newline there",
        "tiling=whole": "tiling 'whole': pictures are cut by a grid of canvases there",
    }
    for change, what in changes.items():
        model.config = model.config.override(change)
        with pytest.raises(ConfigError, match=rf"llava-next-hf: .*{what}"):
            write_stock(model, tmp_path / "out")
        model.config = model.config.override("assembly=unpad")


def blip2(**more: Any) -> Any:
    text = {"vocab_size": VOCAB, "word_embed_proj_dim": 16, "ffn_dim": 32, "max_position_embeddings": 256}
    config = transformers.Blip2Config(
        vision_config=VISION, text_config={"model_type": "opt", **SIZES, **text},
        qformer_config={**SIZES, "hidden_size": 24, "intermediate_size": 48}, num_query_tokens=5,
        image_token_index=IMAGE, **more,
    )  # fmt: skip
    return shaken(transformers.Blip2ForConditionalGeneration(config))


@torch.no_grad()
def test_blip2_is_that_of_transformers(tmp_path: Path) -> None:
    theirs = blip2()
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    assert not account.left
    assert set(account.loaded) == set(load_file(tmp_path / "theirs" / "model.safetensors"))
    assert sum(account.parameters.values()) == theirs.num_parameters()
    same_logits(theirs, model)
    same_replies(theirs, model, [Sample(sample.segments[:-1], id="p") for sample in PICTURED[:2]])

    written = write_stock(model, tmp_path / "back")
    assert (written.family, written.added) == ("blip2-hf", ())
    back = reloaded(tmp_path / "back", written.stock)
    for sample in PICTURED:
        wanted = seen_by(theirs, model, sample)
        torch.testing.assert_close(seen_by(back, model, sample), wanted, rtol=0, atol=0)
    again, _ = read_published(tmp_path / "back")
    same_tensors(again, model)
    for part in ("connector", "tiling", "template"):
        assert getattr(again.config, part) == getattr(model.config, part)


@torch.no_grad()
def test_the_processor_of_an_exported_blip2_does_what_ours_does(tmp_path: Path) -> None:
    """The picture, the token that begins texts, the question; generation ends with the line."""
    model, _ = read_published(folder_of(blip2(), tmp_path / "theirs"))
    theirs = reloaded(tmp_path / "back", write_stock(model, tmp_path / "back").stock)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    for size in ((28, 28), (40, 20)):
        picture = noise(3, size)
        inputs = processor(images=PILImage.open(io.BytesIO(picture)), text="Question: what? Answer:",
                           return_tensors="pt")  # fmt: skip
        sample = as_sample([Image(picture, role="user"), Text("Question: what? Answer:", role="user")])
        laid = model.layout(sample, reply="assistant")
        ours = shown(theirs, model, laid)
        assert ours["input_ids"].tolist() == inputs["input_ids"].tolist()
        assert (ours["pixel_values"] - inputs["pixel_values"]).abs().max() < (1e-5 if size == (28, 28) else 0.03)
        hidden = model(collate([[laid]], model.layout))[0, : len(laid)]
        logits = theirs(**{**inputs, "pixel_values": ours["pixel_values"]}).logits[0]
        torch.testing.assert_close(model.head(hidden), logits, rtol=1e-4, atol=1e-4)
    assert [theirs.language_model.generation_config.eos_token_id] == list(model.tokenizer.markers("\n"))


def test_what_is_wrong_with_a_folder_of_blip2_is_named(tmp_path: Path) -> None:
    theirs = blip2()
    refused = refusing(folder_of(theirs, tmp_path))
    inner = theirs.config.qformer_config.to_dict()
    refused(r"unknown key 'qformer.pooler.weight': did you mean", {"qformer.pooler.weight": torch.zeros(2)})
    refused(r"'query_tokens' has shape \[4, 24\]; its config says \[5, 24\] \(our 'connector.queries'\)",
            {"query_tokens": torch.zeros(1, 4, 24)})  # fmt: skip
    refused(r"is a 't5', an encoder-decoder \(BLIP-2 with Flan-T5\).* fetch one with OPT",
            text_config={"model_type": "t5", "d_model": 16})  # fmt: skip
    refused(r"qformer_config.hidden_act is 'relu'", qformer_config=inner | {"hidden_act": "relu"})
    refused(r"attention_probs_dropout_prob is 0.3 and hidden_dropout_prob 0.1",
            qformer_config=inner | {"attention_probs_dropout_prob": 0.3})  # fmt: skip
    refused(r"is a Blip2ForImageTextRetrieval whose Q-Former reads BERT's tokens",
            architectures=["Blip2ForImageTextRetrieval"])  # fmt: skip


def test_what_keeps_a_composition_from_being_blip2_is_named(tmp_path: Path) -> None:
    model, _ = read_published(folder_of(blip2(), tmp_path / "theirs"))
    config = model.config
    changes = {
        "connector=perceiver": "connector 'perceiver': it is a Q-Former there",
        "connector.media_norm=true": "connector 'q-former': it has neither a text side nor media_norm there",
        "encoder.feature_layer=-2": "encoder 'hf-vision': all its output is read there",
        "template.document.prefix=a": "template: a picture stands before all marks there",
    }
    for change, what in changes.items():
        model.config = config.override(change)
        with pytest.raises(ConfigError, match=rf"blip2-hf: {what}"):
            write_stock(model, tmp_path / "out")
    model.config = config.override("template.after_image='never seen'")
    with pytest.raises(ConfigError, match=r"template.after_image 'never seen' is no token"):
        write_stock(model, tmp_path / "out")
    model.config = config
    rust = json.loads(model.tokenizer.rust.to_str())
    assert rust["added_tokens"].pop(3)["content"] == "<image>"
    rust["model"]["vocab"]["other"] = rust["model"]["vocab"].pop("<image>")
    model.tokenizer = type(model.tokenizer)(RustTokenizer.from_str(json.dumps(rust)), "<pad>")
    extra = [f"<{i}>" for i in range(VOCAB - model.tokenizer.vocab_size)]
    model.tokenizer = model.tokenizer.with_specials(extra)
    with pytest.raises(ConfigError, match=r"embeds 264 tokens and has no row left for <image>"):
        write_stock(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def idefics(kind: str, **more: Any) -> Any:
    """With everything that published ones have, or with nothing of it."""
    rich = {
        "additional_vocab_size": 2, "qk_layer_norms": True, "use_resampler": True, "alpha_type": "float",
        "perceiver_config": {"resampler_n_latents": 6, "resampler_depth": 2, "resampler_n_heads": 2,
                             "resampler_head_dim": 12, "qk_layer_norms_perceiver": True},
    }  # fmt: skip
    plain = {"additional_vocab_size": 0, "cross_layer_interval": 2, "alpha_type": "vector"}
    chosen = rich if kind == "rich" else plain
    vision = {**VISION, "hidden_size": 24}
    vision["embed_dim"] = vision.pop("hidden_size")
    config = transformers.IdeficsConfig(
        vocab_size=VOCAB - chosen["additional_vocab_size"], vision_config=vision, max_position_embeddings=256,
        alpha_initializer="ones", **SIZES, **chosen, **more,
    )  # fmt: skip
    return shaken(transformers.IdeficsForVisionText2Text(config))


@pytest.mark.parametrize("kind", ["rich", "plain"])
@torch.no_grad()
def test_idefics_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """Tokens before a picture and the mark that opens it do not look at it; a text without pictures looks at none."""
    theirs = idefics(kind)
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    assert not account.left
    assert set(account.loaded) == set(load_file(tmp_path / "theirs" / "model.safetensors"))
    assert sum(account.parameters.values()) == theirs.num_parameters()
    laid = model.layout(PICTURED[0])
    around, image = model.tokenizer.id_of("<fake_token_around_image>"), model.tokenizer.id_of("<image>")
    assert [token for token in laid.ids.tolist() if token < 7] == [1, around, image, around]
    same_logits(theirs, model)
    same_replies(theirs, model, [Sample(sample.segments[:-1], id="p") for sample in PICTURED])
    with pytest.raises(ConfigError, match=r"llava-hf: fusion 'cross-attention': features stand in line"):
        write_stock(model, tmp_path / "back")


def test_what_is_wrong_with_a_folder_of_idefics_is_named(tmp_path: Path) -> None:
    refused = refusing(folder_of(idefics("rich"), tmp_path))
    block = "model.gated_cross_attn_layers.0"
    refused(r"unknown key 'model.resampler.latents': did you mean", {"model.resampler.latents": torch.zeros(2)})
    refused(r"'model.gated_cross_attn_layers.0.alpha_dense' has shape \[16\]; its config says \[1\]",
            {f"{block}.alpha_dense": torch.ones(16)})  # fmt: skip
    refused(r"hidden_act is 'gelu'; our gated feed-forwards have 'silu'", hidden_act="gelu")
    refused(r"cross_layer_interval 3 does not divide the 2 layers", cross_layer_interval=3)
    refused(r"alpha_type is 'matrix', neither", alpha_type="matrix")
