"""Published checkpoints for tests: models of transformers with random weights, as folders, and what they are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.generation.engine import Sampler, stream
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.sample import Image, Sample, Text, as_sample

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SPECIALS = ("<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>")
VOCAB = 264
IMAGE = 3


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


def folder_of(theirs: Any, path: Path, template: str = "", **settings: Any) -> Path:
    theirs.save_pretrained(path)
    write_tokenizer(path, template, **settings)
    return path


def original_layout(theirs: Any, kind: str, path: Path) -> Path:
    """A LLaVA of transformers as LLaVA's and Bunny's own code saves it, in two shards of torch.save; `kind` is the type
    of model that its config gives."""
    starts = {
        "multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "multi_modal_projector.linear_2.": "model.mm_projector.2.",
        "vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "language_model.": "model.",
    }
    state = {}
    for key, value in theirs.state_dict().items():
        short = key.removeprefix("model.")
        start = next((start for start in starts if short.startswith(start)), "")
        if ".head." not in short:
            state[starts[start] + short.removeprefix(start) if start else short] = value
    keys = sorted(state)
    places = {key: f"pytorch_model-0000{1 + (i > 9)}-of-00002.bin" for i, key in enumerate(keys)}
    for file in set(places.values()):
        torch.save({key: state[key] for key in keys if places[key] == file}, path / file)
    (path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    vision = theirs.config.vision_config
    settings = {
        **theirs.config.text_config.to_dict(), "model_type": kind, "mm_projector_type": "mlp2x_gelu",
        "mm_vision_tower": f"some/{vision.model_type.split('_')[0]}", "mm_hidden_size": vision.hidden_size,
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "image_aspect_ratio": "pad",
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(settings))
    write_tokenizer(path)
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


def shown(theirs: Any, model: Model, laid: LaidOut) -> dict[str, Tensor]:
    """One sample as the reference takes it, alone and without padding."""
    batch = collate([[laid]], model.layout)
    token = getattr(theirs.config, "image_token_index", IMAGE)
    given = {"input_ids": torch.where(batch.media, token, batch.ids)[:, : len(laid)]}
    if theirs.config.model_type == "idefics":
        return given | _shown_to_idefics(given["input_ids"], model, batch.tiles)
    if len(batch.tiles):
        given["pixel_values"] = model.encoder.normalise(batch.tiles)  # type: ignore[operator]
        if theirs.config.model_type == "llava_next":
            given["image_sizes"] = torch.tensor([cut.size[::-1] for cut in batch.pictures.cuts])
    return given


def _shown_to_idefics(ids: Tensor, model: Model, tiles: Tensor) -> dict[str, Tensor]:
    """Pictures, of which a text without any has a black one that is masked, and which of them each token looks at."""
    from transformers.models.idefics import processing_idefics as processing

    marks = SimpleNamespace(convert_tokens_to_ids=lambda token: IMAGE, eos_token_id=2)
    counted, _ = processing.image_attention_mask_for_packed_input_ids_pt(ids, marks)
    count = max(1, len(tiles))
    mask = processing.incremental_to_binary_attention_mask(counted, "pt", num_classes=count)
    shape = 1, count, *tiles.shape[1:]
    pixels = model.encoder.normalise(tiles).view(shape) if len(tiles) else torch.zeros(shape)  # type: ignore[operator]
    return {"pixel_values": pixels, "image_attention_mask": mask}


def seen_by(theirs: Any, model: Model, sample: Sample) -> Tensor:
    """The reference's logits for one sample; of one without pictures those of its language model, if it needs one."""
    given = shown(theirs, model, model.layout(sample))
    alone = "pixel_values" not in given and theirs.config.model_type == "blip-2"
    return (theirs.language_model if alone else theirs)(**given).logits[0]


def same_logits(theirs: Any, model: Model, samples: Sequence[Sample] = PICTURED) -> None:
    """One by one, and the first two packed in a row, the third alone and padded."""
    wanted = [seen_by(theirs, model, sample) for sample in samples]
    for found, want in zip(model.logits(samples), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
    laid = [model.layout(sample) for sample in samples]
    hidden = model(collate([laid[:2], laid[2:]], model.layout))
    torch.testing.assert_close(model.head(hidden[1, : len(laid[2])]), wanted[2], rtol=1e-4, atol=1e-4)
    behind = slice(len(laid[0]), len(laid[0]) + len(laid[1]))
    torch.testing.assert_close(model.head(hidden[0, behind]), wanted[1], rtol=1e-4, atol=1e-4)


def same_replies(theirs: Any, model: Model, prompts: Sequence[Sample]) -> None:
    """Greedy, up to the mark that ends a reply, all prompts in one batch with us and one by one there."""
    laid = [model.layout(prompt, reply="assistant") for prompt in prompts]
    columns = list(zip(*stream(model, laid, 8, Sampler(0.0, 1.0, 0, model.device)), strict=True))
    (end,) = model.tokenizer.markers(model.config.template.assistant.end)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": end, "pad_token_id": 0}
    for one, column in zip(laid, columns, strict=True):
        wanted = theirs.generate(**shown(theirs, model, one), **options)[0, len(one) :].tolist()
        assert [token for token in column if token is not None] == [token for token in wanted if token != end]
    assert len(columns[0]) > 1, "something was said"


def same_tensors(one: Model, other: Model) -> None:
    """To the bit, in the same composition."""
    ours, others = one.state_dict(), other.state_dict()
    assert list(ours) == list(others)
    assert all(torch.equal(tensor, others[name]) for name, tensor in ours.items())
