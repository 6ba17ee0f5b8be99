"""Families at the widths that were published, two layers each: what small widths could hide. CLIP and SigLIP have all
their layers. Those that transformers does not know are in `test_families_released.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from published import IMAGE, PICTURED, SPECIALS, VOCAB, folder_of, original_layout, same_logits

from sensorium.data.batch import collate
from sensorium.families.importing import read_published
from sensorium.recipes.published import (
    LLAMA_3_8B,
    OPT_2_7B,
    PHI_2,
    VICUNA_7B,
    clip_l_336,
    eva_g_224,
    siglip_so400m_384,
)
from sensorium.sample import Image, Sample, Text, as_sample

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
pytestmark = pytest.mark.slow
EYES = {**clip_l_336()["architecture"], "num_hidden_layers": 3}
"""Of which the last but one is read."""
VICUNA = {**VICUNA_7B["architecture"], "num_hidden_layers": 2, "max_position_embeddings": 4096}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
B_16 = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
CLIP_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "eos_token_id": 5}


def config(sizes: dict[str, Any]) -> Any:
    return transformers.AutoConfig.for_model(**sizes)


def llava() -> Any:
    return transformers.LlavaConfig(vision_config=config(EYES), text_config=config(VICUNA), image_token_index=IMAGE)


def llava_next() -> Any:
    return transformers.LlavaNextConfig(vision_config=config(EYES), text_config=config(VICUNA), image_token_index=IMAGE)


def blip2() -> Any:
    eyes = {**eva_g_224()["architecture"], "num_hidden_layers": 2}
    q_former = {"num_hidden_layers": 2, "encoder_hidden_size": eyes["hidden_size"]}
    words = {**OPT_2_7B["architecture"], "num_hidden_layers": 2}
    return transformers.Blip2Config(
        vision_config=eyes, text_config=words, qformer_config=q_former, image_token_index=IMAGE
    )


def idefics() -> Any:
    """The first Idefics, 9 billion parameters: two layers of which the first looks at 64 latents."""
    return transformers.IdeficsConfig(
        num_hidden_layers=2, cross_layer_interval=2, alpha_initializer="ones", alpha_type="vector", use_resampler=True,
        additional_vocab_size=2, qk_layer_norms=True,
        vision_config={"embed_dim": 1280, "image_size": 224, "patch_size": 14, "intermediate_size": 5120,
                       "num_hidden_layers": 2, "num_attention_heads": 16},
        perceiver_config={"resampler_n_latents": 64, "resampler_depth": 2, "resampler_n_heads": 16,
                          "resampler_head_dim": 96, "qk_layer_norms_perceiver": True},
    )  # fmt: skip


@pytest.mark.parametrize("family", [llava, llava_next, blip2, idefics])
@torch.no_grad()
def test_logits_at_published_widths(family: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = transformers.AutoModelForImageTextToText.from_config(family()).eval()
    model, account = read_published(folder_of(theirs, tmp_path / "theirs"))
    assert not account.new
    assert sum(account.parameters.values()) == theirs.num_parameters()
    same_logits(theirs, model)


@pytest.mark.parametrize("kind", ["bunny-phi", "bunny-llama"])
@torch.no_grad()
def test_bunny_at_published_widths(kind: str, tmp_path: Path) -> None:
    """In its own layout, of which the last layer of SigLIP is gone."""
    eyes = {**siglip_so400m_384()["architecture"], "num_hidden_layers": 2}
    words = {**(PHI_2 if kind == "bunny-phi" else LLAMA_3_8B)["architecture"], "num_hidden_layers": 2}
    torch.manual_seed(0)
    theirs = transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(
        vision_config=config(eyes), text_config=config({**words, "vocab_size": VOCAB, **ENDS}),
        image_token_index=IMAGE, vision_feature_layer=-1, vision_feature_select_strategy="full",
    ))  # fmt: skip
    if kind == "bunny-phi":  # whose output has a bias, which a LLaVA of transformers would not
        theirs.lm_head = torch.nn.Linear(words["hidden_size"], VOCAB)
    model, account = read_published(original_layout(theirs.eval(), kind, tmp_path))
    assert not account.new
    same_logits(theirs, model)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_embeddings_of_whole_towers(kind: str, tmp_path: Path) -> None:
    vision = {**B_16, "num_hidden_layers": 12, "image_size": 224, "patch_size": 16}
    text = {**(CLIP_TEXT if kind == "clip" else B_16), "num_hidden_layers": 12, "vocab_size": len(SPECIALS) + 256}
    torch.manual_seed(0)
    theirs = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(kind, vision_config=vision, text_config=text)
    ).eval()
    model, account = read_published(folder_of(theirs, tmp_path / "theirs", eos_token="<|im_end|>"))
    assert not account.new
    assert sum(account.parameters.values()) == theirs.num_parameters()
    words = [Sample((Text(said, role="document"),)) for said in ("a dog", "two dogs and a cat")]
    pictures = [as_sample([segment]) for segment in PICTURED[1].segments if isinstance(segment, Image)]
    laid = [model.layout(sample).ids.tolist() for sample in words]
    ids = torch.tensor([row + [0] * (theirs.config.text_config.max_position_embeddings - len(row)) for row in laid])
    tiles = collate([[model.layout(one)] for one in pictures], model.layout).tiles
    pixels = model.encoder.normalise(tiles)  # type: ignore[operator]
    wanted = theirs(input_ids=ids, pixel_values=pixels)
    found = model.embed([*words, *pictures])
    torch.testing.assert_close(found, torch.cat([wanted.text_embeds, wanted.image_embeds]), rtol=1e-4, atol=1e-4)
