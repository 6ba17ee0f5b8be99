"""Checkpoints in layouts that only their authors' code reads, against the specification written out in plain torch.

Every reference reads tensors under the checkpoint's own keys, one sample at a time and without padding or a cache.
Each family is compared small, and once with two layers of the widths that were published.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from sensorium.checks.full_size import on_meta
from sensorium.data.batch import collate
from sensorium.data.tiling import Cut
from sensorium.errors import ConfigError
from sensorium.families.family import recognised
from sensorium.families.folder import Folder
from sensorium.families.importing import fill, read_published
from sensorium.generation.engine import Sampler, stream
from sensorium.laid_out import LaidOut
from sensorium.model import Model, ModelConfig
from sensorium.recipe import find_recipe
from sensorium.sample import Image, Text, as_sample
from sensorium.training.checkpoint import load_model

pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
torch.set_num_threads(1)


def small_and_published(small: Sequence[Any], published: Sequence[Any]) -> pytest.MarkDecorator:
    """Sizes of a family's checkpoints."""
    large = [pytest.param(size, id=f"published-{n}", marks=pytest.mark.slow) for n, size in enumerate(published)]
    return pytest.mark.parametrize(
        "size", [*(pytest.param(size, id=f"small-{n}") for n, size in enumerate(small)), *large]
    )


Shapes = dict[str, tuple[int, ...]]
State = Mapping[str, Tensor]
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


# --- checkpoints with random weights ---


def random_state(shapes: Shapes) -> dict[str, Tensor]:
    """Weights that keep what passes through them at its scale; norms and biases random, too."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for key, shape in shapes.items():
        scale = 0.2 if len(shape) == 1 else 1.0 if "embed" in key or "latents" in key else shape[-1] ** -0.5
        made[key] = torch.randn(shape, generator=generator) * scale + float("norm" in key and key.endswith("weight"))
    return made


def write_tokenizer(folder: Path, specials: tuple[str, ...], **settings: Any) -> None:
    """A tokenizer of bytes and a few special tokens before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({token: i for i, token in enumerate([*specials, *alphabet])}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(list(specials))
    rust.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def noise(seed: int, size: tuple[int, int]) -> bytes:
    """A PNG of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


PROMPTS = tuple(
    as_sample([segment if isinstance(segment, Text) else Image(segment, role="user") for segment in said])
    for said in (
        [noise(0, (28, 28)), Text("what?", role="user")],
        [Text("see", role="user"), noise(1, (60, 28)), noise(2, (28, 90)), Text("both", role="user")],
        [Text("no picture at all", role="user")],
        [noise(3, (50, 64)), Text("a longer question than the others", role="user")],
    )
)


# --- the reference's parts ---


def layer_norm(s: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * s[f"{name}.weight"] + s[f"{name}.bias"]


def rms_norm(weight: Tensor, x: Tensor, eps: float = 1e-5) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", torch.zeros(()))


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, seen: Tensor | None = None) -> Tensor:
    """Of `q` `[queries, inner]` and `k`, `v` `[keys, inner]`; `seen` bool `[queries, keys]`."""
    q, k, v = (x.view(len(x), heads, -1).transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def patches_of(s: State, weight: str, pixels: Tensor) -> Tensor:
    """`[3, height, width]` to `[patches, width]`, row by row."""
    kernel = s[weight]
    side = kernel.shape[-1]
    cells = pixels.unfold(1, side, side).unfold(2, side, side)  # 3, rows, columns, side, side
    return cells.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1) @ kernel.flatten(1).T


def siglip(s: State, start: str, pixels: Tensor, head_dim: int) -> Tensor:
    x = patches_of(s, f"{start}embeddings.patch_embedding.weight", pixels)
    x = x + s[f"{start}embeddings.patch_embedding.bias"] + s[f"{start}embeddings.position_embedding.weight"]
    for n in range(2):
        name = f"{start}encoder.layers.{n}."
        y = layer_norm(s, f"{name}layer_norm1", x, 1e-6)
        q, k, v = (linear(s, f"{name}self_attn.{part}_proj", y) for part in "qkv")
        x = x + linear(s, f"{name}self_attn.out_proj", attend(q, k, v, y.shape[1] // head_dim))
        y = layer_norm(s, f"{name}layer_norm2", x, 1e-6)
        x = x + linear(s, f"{name}mlp.fc2", gelu_tanh(linear(s, f"{name}mlp.fc1", y)))
    return layer_norm(s, f"{start}post_layernorm", x, 1e-6)


def open_clip(s: State, start: str, pixels: Tensor, head_dim: int) -> Tensor:
    """The patches of the last layer behind its norm."""
    x = torch.cat([s[f"{start}class_embedding"][None], patches_of(s, f"{start}conv1.weight", pixels)])
    x = layer_norm(s, f"{start}ln_pre", x + s[f"{start}positional_embedding"])
    for n in range(2):
        name = f"{start}transformer.resblocks.{n}."
        y = layer_norm(s, f"{name}ln_1", x)
        q, k, v = (y @ s[f"{name}attn.in_proj_weight"].T + s[f"{name}attn.in_proj_bias"]).chunk(3, dim=1)
        x = x + linear(s, f"{name}attn.out_proj", attend(q, k, v, y.shape[1] // head_dim))
        y = layer_norm(s, f"{name}ln_2", x)
        x = x + linear(s, f"{name}mlp.c_proj", quick_gelu(linear(s, f"{name}mlp.c_fc", y)))
    return layer_norm(s, f"{start}ln_post", x)[1:]


def resample(s: State, start: str, x: Tensor, head_dim: int, seen: Tensor | None = None,
             asked: Tensor | None = None) -> Tensor:  # fmt: skip
    """Of features `[n, dim]`: `seen` bool `[n]`, `asked` `[m, language_dim]`."""
    z = count = s[f"{start}latents"]
    if asked is not None:
        words = linear(s, f"{start}text_projection.2", gelu(linear(s, f"{start}text_projection.0", asked)))
        z = torch.cat([z, words])
    for n in range(2):
        name = f"{start}layers.{n}."
        normed = layer_norm(s, f"{name}0.norm_latents", z)
        both = torch.cat([layer_norm(s, f"{name}0.norm_media", x), normed])
        k, v = linear(s, f"{name}0.to_kv", both).chunk(2, dim=1)
        mask = None if seen is None else torch.cat([seen, torch.ones(len(z), dtype=torch.bool)]).expand(len(z), -1)
        q = linear(s, f"{name}0.to_q", normed)
        z = z + linear(s, f"{name}0.to_out", attend(q, k, v, q.shape[1] // head_dim, mask))
        z = z + linear(s, f"{name}1.3", gelu(linear(s, f"{name}1.1", layer_norm(s, f"{name}1.0", z))))
    z = layer_norm(s, f"{start}norm", z[: len(count)])
    return linear(s, f"{start}projection", z) if f"{start}projection.weight" in s else z


def rotated(x: Tensor, heads: int, theta: float) -> Tensor:
    """`[tokens, heads * d]` with the halves of each head turned by its token's place."""
    x = x.view(len(x), heads, -1)
    d = x.shape[-1]
    angles = torch.arange(len(x))[:, None, None] * theta ** (-torch.arange(0, d, 2) / d)
    low, high = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([low * angles.cos() - high * angles.sin(), high * angles.cos() + low * angles.sin()], -1).flatten(
        1
    )


def causal(tokens: int) -> Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool).tril()


def phi_3(s: State, start: str, x: Tensor, heads: int) -> Tensor:
    """Embeddings to hidden states."""
    for n in range(2):
        name = f"{start}layers.{n}."
        y = rms_norm(s[f"{name}input_layernorm.weight"], x)
        q, k, v = linear(s, f"{name}self_attn.qkv_proj", y).chunk(3, dim=1)
        q, k = rotated(q, heads, 1e4), rotated(k, heads, 1e4)
        x = x + linear(s, f"{name}self_attn.o_proj", attend(q, k, v, heads, causal(len(x))))
        y = rms_norm(s[f"{name}post_attention_layernorm.weight"], x)
        gate, up = linear(s, f"{name}mlp.gate_up_proj", y).chunk(2, dim=1)
        x = x + linear(s, f"{name}mlp.down_proj", F.silu(gate) * up)
    return rms_norm(s[f"{start}norm.weight"], x)


# --- comparing ---


Think = Callable[[list[int]], Tensor]
"""Text token ids, in which a picture is one token, to the logits of every place of the sequence"""


def as_text(laid: LaidOut, picture: int) -> list[int]:
    """The tokens of a text, one for each picture."""
    firsts = laid.media & ~np.concatenate([[False], laid.media[:-1]])
    ids = np.where(firsts, picture, laid.ids)
    return ids[firsts | ~laid.media].tolist()


@torch.no_grad()
def agrees(model: Model, reference: Callable[[Model, LaidOut], tuple[Think, list[int]]], steps: int = 8) -> None:
    """Logits of all prompts in one padded batch, and what is written greedily after them."""
    laid = [model.layout(prompt, reply="assistant") for prompt in PROMPTS]
    hidden = model(collate([[one] for one in laid], model.layout))
    assert len({len(one) for one in laid}) == len(laid), "rows are padded"
    thinking = [reference(model, one) for one in laid]
    for row, (one, (think, ids)) in enumerate(zip(laid, thinking, strict=True)):
        torch.testing.assert_close(model.head(hidden[row, : len(one)]), think(ids), **CLOSE)
    written = list(zip(*stream(model, laid, steps, Sampler(0.0, 1.0, 0, model.device)), strict=True))
    stop = model.tokenizer.markers(model.config.template.assistant.end)[0]
    assert any(token is not None for row in written[0:] for token in row)
    for (think, ids), row in zip(thinking, written, strict=True):
        wanted: list[int | None] = []
        while len(wanted) < len(row):
            chosen = int(think(ids)[-1].argmax())
            ended = chosen == stop or (bool(wanted) and wanted[-1] is None)
            wanted.append(None if ended else chosen)
            ids = [*ids, chosen]
        assert list(row) == wanted


class Announced(Folder):
    """A folder of settings whose tensors have shapes and no memory."""

    def __init__(self, path: Path, settings: dict[str, Any], shapes: Shapes) -> None:
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(json.dumps(settings))
        super().__init__(path)
        self.shapes = shapes

    def tensors(self, *files: str) -> dict[str, Tensor]:
        return {key: torch.empty(shape, device="meta") for key, shape in self.shapes.items()}


def at_full_size(folder: Announced) -> tuple[Model, dict[str, int]]:
    """The model that a published folder becomes, every tensor in its place, and the parameters that are
    left out, by key."""
    _, family = recognised(folder)
    model = on_meta(ModelConfig.from_dict(family.config(folder)))
    given = folder.tensors()
    done = family.table(model.config, folder).sort(given, "there")
    assert not fill(model, done, {}, "there")
    return model, {key: given[key].numel() for key in done.left}


def size_of(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# --- xGen-MM ---


PHI_SPECIALS = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<pad>")
KNOWN = len(PHI_SPECIALS) + 256


def resampler_shapes(start: str, dim: int, inner: int, depth: int, latents: int, out: int | None) -> Shapes:
    shapes: Shapes = {f"{start}latents": (latents, dim)}
    for n in range(depth):
        layer = f"{start}layers.{n}."
        for norm in ("0.norm_media", "0.norm_latents", "1.0"):
            shapes |= {f"{layer}{norm}.weight": (dim,), f"{layer}{norm}.bias": (dim,)}
        shapes |= {f"{layer}0.to_q.weight": (inner, dim), f"{layer}0.to_kv.weight": (2 * inner, dim),
                   f"{layer}0.to_out.weight": (dim, inner), f"{layer}1.1.weight": (4 * dim, dim),
                   f"{layer}1.3.weight": (dim, 4 * dim)}  # fmt: skip
    shapes |= {f"{start}norm.weight": (dim,), f"{start}norm.bias": (dim,)}
    return shapes | ({} if out is None else linear_shapes(f"{start}projection", dim, out))


def linear_shapes(name: str, before: int, after: int) -> Shapes:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def siglip_shapes(start: str, dim: int, mlp: int, depth: int, patch: int, places: int) -> Shapes:
    patches = f"{start}embeddings.patch_embedding"
    shapes: Shapes = {f"{patches}.weight": (dim, 3, patch, patch), f"{patches}.bias": (dim,),
                      f"{start}embeddings.position_embedding.weight": (places, dim)}  # fmt: skip
    norms = [f"{start}post_layernorm", f"{start}head.layernorm"]
    for n in range(depth):
        layer = f"{start}encoder.layers.{n}."
        norms += [f"{layer}layer_norm1", f"{layer}layer_norm2"]
        for part in ("q", "k", "v", "out"):
            shapes |= linear_shapes(f"{layer}self_attn.{part}_proj", dim, dim)
        shapes |= linear_shapes(f"{layer}mlp.fc1", dim, mlp) | linear_shapes(f"{layer}mlp.fc2", mlp, dim)
    head = f"{start}head."
    shapes |= {f"{head}probe": (1, 1, dim), f"{head}attention.in_proj_weight": (3 * dim, dim),
               f"{head}attention.in_proj_bias": (3 * dim,)}  # fmt: skip
    shapes |= linear_shapes(f"{head}attention.out_proj", dim, dim)
    shapes |= linear_shapes(f"{head}mlp.fc1", dim, mlp) | linear_shapes(f"{head}mlp.fc2", mlp, dim)
    return shapes | {f"{norm}.{kind}": (dim,) for norm in norms for kind in ("weight", "bias")}


def open_clip_shapes(start: str, dim: int, depth: int, patch: int, places: int, joint: int) -> Shapes:
    shapes: Shapes = {f"{start}class_embedding": (dim,), f"{start}positional_embedding": (places + 1, dim),
                      f"{start}proj": (dim, joint), f"{start}conv1.weight": (dim, 3, patch, patch)}  # fmt: skip
    norms = [f"{start}ln_pre", f"{start}ln_post"]
    for n in range(depth):
        block = f"{start}transformer.resblocks.{n}."
        norms += [f"{block}ln_1", f"{block}ln_2"]
        shapes |= {f"{block}attn.in_proj_weight": (3 * dim, dim), f"{block}attn.in_proj_bias": (3 * dim,)}
        shapes |= linear_shapes(f"{block}attn.out_proj", dim, dim)
        shapes |= linear_shapes(f"{block}mlp.c_fc", dim, 4 * dim) | linear_shapes(f"{block}mlp.c_proj", 4 * dim, dim)
    return shapes | {f"{norm}.{kind}": (dim,) for norm in norms for kind in ("weight", "bias")}


def phi_shapes(start: str, dim: int, mlp: int, depth: int, rows: int) -> Shapes:
    """With the three new tokens of xGen-MM."""
    embed, head = f"{start}model.embed_tokens", f"{start}lm_head"
    shapes: Shapes = {f"{embed}.weight": (rows, dim), f"{embed}.additional_embedding.weight": (3, dim),
                      f"{start}model.norm.weight": (dim,)}  # fmt: skip
    for n in range(depth):
        layer = f"{start}model.layers.{n}."
        shapes |= {f"{layer}self_attn.qkv_proj.weight": (3 * dim, dim), f"{layer}self_attn.o_proj.weight": (dim, dim),
                   f"{layer}mlp.gate_up_proj.weight": (2 * mlp, dim), f"{layer}mlp.down_proj.weight": (dim, mlp),
                   f"{layer}input_layernorm.weight": (dim,),
                   f"{layer}post_attention_layernorm.weight": (dim,)}  # fmt: skip
    return shapes | linear_shapes(head, dim, rows) | linear_shapes(f"{head}.additional_fc", dim, 3)


def xgen_shapes(kind: str, tower: Shapes, dim: int, wide: int, inner: int, depth: int, latents: int) -> Shapes:
    """`dim` is the tower's width, `wide` the language model's."""
    start = "vlm.vision_tokenizer."
    shapes = tower | resampler_shapes(start, dim, inner, depth, latents, wide)
    if kind == "blip_3":
        names = f"{start}text_projection."
        shapes |= linear_shapes(f"{names}0", wide, dim) | linear_shapes(f"{names}2", dim, dim)
    return shapes


class XGen(NamedTuple):
    """What a checkpoint of two layers everywhere measures: the tower, the resampler, the language model."""

    kind: str
    tower: int
    tower_mlp: int
    patch: int
    places: int
    inner: int
    latents: int
    dim: int
    mlp: int
    heads: int
    grids: tuple[tuple[int, int], ...] = ()
    """Canvases other than the published."""

    def shapes(self) -> Shapes:
        start = "vlm.vision_encoder."
        if self.kind == "xgenmm":
            tower = siglip_shapes(start, self.tower, self.tower_mlp, 2, self.patch, self.places)
        else:
            tower = open_clip_shapes(start, self.tower, 2, self.patch, self.places, 12)
        language = phi_shapes("vlm.lang_model.", self.dim, self.mlp, 2, KNOWN + 7)
        return xgen_shapes(self.kind, tower, self.tower, self.dim, self.inner, 2, self.latents) | language


GRIDS = ((28, 56), (56, 28), (56, 56), (84, 28), (28, 84))
SMALL_XGEN = XGen("xgenmm", 144, 40, 7, 16, 192, 5, 32, 48, 4, GRIDS)
SMALL_XGEN_R1 = XGen("blip_3", 160, 640, 7, 16, 192, 5, 32, 48, 4)
XGEN = XGen("xgenmm", 1152, 4304, 14, 729, 1536, 128, 3072, 8192, 32)
XGEN_R1 = XGen("blip_3", 1280, 5120, 14, 729, 1536, 128, 3072, 8192, 32)


def xgen_settings(kind: str, **text: Any) -> dict[str, Any]:
    start = "xgenmm" if kind == "xgenmm" else "blip_3"
    return {
        "model_type": kind,
        "vision_encoder_config": {
            "model_type": f"{start}_vision_encoder", "anyres_patch_sampling": True, "image_aspect_ratio": "anyres",
        },
        "vision_tokenizer_config": {"model_type": f"{start}_vision_tokenizer", "image_aspect_ratio": "anyres"},
        "text_config": {"model_type": "phi3", "initial_tokenizer_len": 32012, "sliding_window": 2047, **text},
    }  # fmt: skip


def xgen_folder(size: XGen, path: Path, state: dict[str, Tensor] | None = None) -> Path:
    path.mkdir(exist_ok=True)
    sizes = {"hidden_size": size.dim, "intermediate_size": size.mlp, "num_hidden_layers": 2,
             "num_attention_heads": size.heads, "num_key_value_heads": size.heads, "vocab_size": KNOWN + 7,
             "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 3, "initial_tokenizer_len": KNOWN}  # fmt: skip
    settings = xgen_settings(size.kind, **sizes)
    if size.grids:
        settings["vision_encoder_config"]["anyres_grids"] = size.grids
    (path / "config.json").write_text(json.dumps(settings))
    write_tokenizer(path, PHI_SPECIALS, bos_token="<s>", eos_token="<|endoftext|>", pad_token="<|endoftext|>",
                    add_bos_token=False)  # fmt: skip
    save_file(random_state(size.shapes()) if state is None else state, path / "model.safetensors")
    return path


def strips(features: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """The tiles' features `[1 + cells, places, dim]` as the released code groups them, and what is no padding."""
    rows, columns, places = cut.plan.rows, cut.plan.columns, features.shape[1]
    side = math.isqrt(places)
    cells = features[1:].view(rows, columns, side, side, -1).permute(0, 2, 1, 3, 4)
    high, wide = rows * side, columns * side
    seen = torch.ones(high, wide, dtype=torch.bool)
    width, height = cut.size
    if width / height > wide / high:
        pad = (high - int(height * (wide / width))) // 2
        seen[:pad] = seen[high - pad :] = False
    else:
        pad = (wide - int(width * (high / height))) // 2
        seen[:, :pad] = seen[:, wide - pad :] = False
    grouped = cells.reshape(rows * columns, places, -1)
    whole = torch.ones(1, places, dtype=torch.bool)
    return torch.cat([features[:1], grouped]), torch.cat([whole, seen.reshape(rows * columns, places)])


def xgen(size: XGen, s: State) -> Callable[[Model, LaidOut], tuple[Think, list[int]]]:
    """The reference for one prompt: what it thinks of any text that goes on from it, and its tokens."""
    mean, std = (
        ((0.5,) * 3, (0.5,) * 3)
        if size.kind == "xgenmm"
        else ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    table = (
        s["vlm.lang_model.model.embed_tokens.weight"],
        s["vlm.lang_model.model.embed_tokens.additional_embedding.weight"],
    )

    def embed(ids: list[int]) -> Tensor:
        return torch.stack([table[0][i] if i < KNOWN else table[1][i - KNOWN] for i in ids])

    def see(tiles: Tensor, cut: Cut, prompt: list[int]) -> Tensor:
        pixels = (tiles / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        start = "vlm.vision_encoder."
        seen_by = [siglip(s, start, x, 72) if size.kind == "xgenmm" else open_clip(s, start, x, 80) for x in pixels]
        groups, masks = strips(torch.stack(seen_by), cut)
        start, asked = "vlm.vision_tokenizer.", None if size.kind == "xgenmm" else embed(prompt[:256])
        parts = [
            resample(s, start, x, 96, mask if size.kind == "xgenmm" else None, asked)
            for x, mask in zip(groups, masks, strict=True)
        ]
        return torch.cat(parts)

    def reference(model: Model, laid: LaidOut) -> tuple[Think, list[int]]:
        tiles, first = collate([[laid]], model.layout).tiles, 0
        prompt = as_text(laid, KNOWN)
        shown = []
        for span in laid.spans:
            shown.append(see(tiles[first : first + span.cut.plan.tiles], span.cut, prompt))
            first += span.cut.plan.tiles

        def think(ids: list[int]) -> Tensor:
            waiting = list(shown)
            spliced = [waiting.pop(0) if i == KNOWN and waiting else embed([i]) for i in ids]
            hidden = phi_3(s, "vlm.lang_model.model.", torch.cat(spliced), size.heads)
            known = linear(s, "vlm.lang_model.lm_head", hidden)[:, :KNOWN]
            return torch.cat([known, linear(s, "vlm.lang_model.lm_head.additional_fc", hidden)], dim=1)

        return think, prompt

    return reference


@small_and_published([SMALL_XGEN, SMALL_XGEN_R1], [XGEN, XGEN_R1])
def test_xgen_mm_is_what_was_released(size: XGen, tmp_path: Path) -> None:
    folder = xgen_folder(size, tmp_path / "theirs")
    state = load_file(folder / "model.safetensors")
    model, account = read_published(folder)
    assert not account.new
    assert set(account.loaded) | set(account.left) == set(state)
    assert set(account.left) == {k for k in state if ".vision_encoder.head." in k or k.endswith("_encoder.proj")}
    assert model.tokenizer.id_of("<|endofchunk|>") == KNOWN + 2
    agrees(model, xgen(size, state))
    model.save(tmp_path / "ours")
    again = load_model(tmp_path / "ours").logits(PROMPTS[:2])
    for found, wanted in zip(again, model.logits(PROMPTS[:2]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_xgen_mm_is_as_large_as_what_was_released(tmp_path: Path) -> None:
    """Section 1.2 of the specification: 428,225,600 parameters that see, 109,901,568 between, 3,821,130,051 that
    write; the pooling head among the first is left out here."""
    tower = siglip_shapes("vlm.vision_encoder.", 1152, 4304, 27, 14, 729)
    shapes = xgen_shapes("xgenmm", tower, 1152, 3072, 1536, 6, 128)
    shapes |= phi_shapes("vlm.lang_model.", 3072, 8192, 32, 32064)
    model, left = at_full_size(Announced(tmp_path / "there", xgen_settings("xgenmm"), shapes))
    assert size_of(model.encoder) + sum(left.values()) == 428_225_600
    assert size_of(model.connector) == 109_901_568
    assert size_of(model.backbone) + size_of(model.head.new_tokens) == 3_821_130_051  # type: ignore[arg-type]
    assert [model.layout.tokens_for(size) for size in ((1000, 500), (400, 400), (1152, 384))] == [385, 641, 513]
    assert (
        size_of(find_recipe("xgen-mm").model.connector.build(in_dim=1152, out_dim=3072, grid=(27, 27))) == 109_901_568
    )


def test_xgen_mm_r1_is_as_large_as_what_was_released(tmp_path: Path) -> None:
    """Counted by hand: a ViT-H/14 of 32 layers, of which CLIP's projection is left out, six layers of a resampler
    that reads 3072 wide instructions, and the language model of v1.5."""
    layer = 4 * (1280**2 + 1280) + 2 * 1280 * 5120 + 5120 + 1280 + 4 * 1280
    seeing = 1280 * 3 * 14**2 + 1280 * 731 + 4 * 1280 + 32 * layer
    layer = 6 * 1280 + 1280 * 1536 * 4 + 2 * 1280 * 5120
    between = 128 * 1280 + 6 * layer + 2 * 1280 + 1281 * 3072 + 3073 * 1280 + 1281 * 1280
    shapes = xgen_shapes("blip_3", open_clip_shapes("vlm.vision_encoder.", 1280, 32, 14, 729, 1024), 1280, 3072, 1536,
                         6, 128)  # fmt: skip
    shapes |= phi_shapes("vlm.lang_model.", 3072, 8192, 32, 32064)
    model, left = at_full_size(Announced(tmp_path / "there", xgen_settings("blip_3"), shapes))
    assert (size_of(model.encoder), left) == (seeing, {"vlm.vision_encoder.proj": 1280 * 1024})
    assert size_of(model.connector) == between
    assert size_of(model.backbone) + size_of(model.head.new_tokens) == 3_821_130_051  # type: ignore[arg-type]
    ours = on_meta(find_recipe("xgen-mm-r1").model)
    assert (size_of(ours.encoder), size_of(ours.connector)) == (seeing, between)


def test_what_is_wrong_with_a_release_is_named(tmp_path: Path) -> None:
    state = random_state(SMALL_XGEN.shapes())

    def refused(match: str, tensors: dict[str, Tensor], **changes: Any) -> None:
        folder = xgen_folder(SMALL_XGEN, tmp_path / "theirs", tensors)
        settings = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            settings[key] = settings.get(key, {}) | value
        (folder / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ConfigError, match=match):
            read_published(folder)

    query, extra = "vlm.vision_tokenizer.layers.1.0.to_q.weight", "vlm.lang_model.lm_head.additional_fc.weight"
    refused(
        rf"theirs: '{query}' has shape \[9, 144\]; its config says \[192, 144\]", state | {query: torch.zeros(9, 144)}
    )
    refused(r"theirs: lacks 1 tensors .* 'head.new_tokens.weight'", {k: v for k, v in state.items() if k != extra})
    refused(r"theirs: unknown key 'vln.x'", state | {"vln.x": torch.zeros(1)})
    latents = "vlm.vision_tokenizer.latents"
    refused(rf"lacks '{latents}', whose shape", {k: v for k, v in state.items() if k != latents})
    refused(r"anyres_patch_sampling is false", state, vision_encoder_config={"anyres_patch_sampling": False})
    refused(r"tokenizer has 268 tokens .* takes the first 264 of these and 3", state,
            text_config={"initial_tokenizer_len": KNOWN - 1})  # fmt: skip


def test_new_tokens_are_read_and_written_apart() -> None:
    model = find_recipe("demo").model.to_dict()
    with pytest.raises(ConfigError, match=r"backbone.apart is None and head.apart known=500 new=3: give both the same"):
        ModelConfig.from_dict({**model, "head": {"type": "token", "apart": {"known": 500, "new": 3}}})


# --- gated cross-attention: OpenFlamingo and InfiMM-HD ---


def gated_shapes(block: str, dim: int, media: int, inner: int, ff: int, gate: int) -> Shapes:
    return {
        f"{block}attn.norm.weight": (dim,), f"{block}attn.norm.bias": (dim,),
        f"{block}attn.to_q.weight": (inner, dim), f"{block}attn.to_kv.weight": (2 * inner, media),
        f"{block}attn.to_out.weight": (dim, inner), f"{block}ff.0.weight": (dim,), f"{block}ff.0.bias": (dim,),
        f"{block}ff.1.weight": (ff * dim, dim), f"{block}ff.3.weight": (dim, ff * dim),
        f"{block}attn_gate": (gate,), f"{block}ff_gate": (gate,),
    }  # fmt: skip


def gated(s: State, block: str, x: Tensor, media: list[Tensor], last: list[int]) -> Tensor:
    """`last` is the number of the last picture before each token, -1 if there is none."""
    q = linear(s, f"{block}attn.to_q", layer_norm(s, f"{block}attn.norm", x))
    rows = []
    for query, number in zip(q, last, strict=True):
        if number < 0:
            rows.append(torch.zeros_like(query))
            continue
        k, v = linear(s, f"{block}attn.to_kv", media[number]).chunk(2, dim=1)
        rows.append(attend(query[None], k, v, len(query) // 64)[0])
    x = x + s[f"{block}attn_gate"].tanh() * linear(s, f"{block}attn.to_out", torch.stack(rows))
    inner = gelu(linear(s, f"{block}ff.1", layer_norm(s, f"{block}ff.0", x)))
    return x + s[f"{block}ff_gate"].tanh() * linear(s, f"{block}ff.3", inner)


def looking(ids: list[int], picture: int) -> list[int]:
    return (torch.tensor([i == picture for i in ids]).cumsum(0) - 1).tolist()


def neox(s: State, x: Tensor, heads: int, enter: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Embeddings to logits of RedPajama's kind; `enter` is what happens before a layer."""
    for n in range(2):
        name, x = f"gpt_neox.layers.{n}.", enter(n, x)
        y = linear(s, f"{name}attention.query_key_value", layer_norm(s, f"{name}input_layernorm", x))
        q, k, v = (part.flatten(1) for part in y.view(len(x), heads, -1).chunk(3, dim=-1))
        q, k = rotated(q, heads, 1e4), rotated(k, heads, 1e4)
        x = x + linear(s, f"{name}attention.dense", attend(q, k, v, heads, causal(len(x))))
        y = layer_norm(s, f"{name}post_attention_layernorm", x)
        x = x + linear(s, f"{name}mlp.dense_4h_to_h", gelu(linear(s, f"{name}mlp.dense_h_to_4h", y)))
    return linear(s, "head", layer_norm(s, "gpt_neox.final_layer_norm", x))


NEOX_SPECIALS = ("<|endoftext|>", "<|padding|>")
PICTURE = len(NEOX_SPECIALS) + 256 + 1


class Flamingo(NamedTuple):
    """The sizes of CLIP and of the language model, of two layers each, and of what lies between them."""

    eyes: dict[str, int]
    words: dict[str, int]
    inner: int
    latents: int

    def shapes(self, start: str = "") -> Shapes:
        media, dim = self.eyes["hidden_size"], self.words["hidden_size"]
        shapes = resampler_shapes(f"{start}perceiver.", media, 512 if media > 512 else 128, 2, self.latents, None)
        for n in range(2):
            block = f"{start}lang_encoder.gpt_neox.layers.{n}.gated_cross_attn_layer."
            shapes |= gated_shapes(block, dim, media, self.inner, 4, 1)
        return shapes


TINY = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
SMALL_FLAMINGO = Flamingo({**TINY, "image_size": 28, "patch_size": 7}, TINY, 128, 5)
FLAMINGO = Flamingo(
    {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "image_size": 224, "patch_size": 14},
    {"hidden_size": 2560, "num_attention_heads": 32, "intermediate_size": 10240}, 512, 64,
)  # fmt: skip


def beside(path: Path, size: Flamingo = SMALL_FLAMINGO) -> tuple[Any, Any, tuple[str, ...], str]:
    """A CLIP and a language model in folders of their own, and what an import says of them."""
    import transformers

    tower = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**size.eyes, num_hidden_layers=2))
    language = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(
        **size.words, num_hidden_layers=2, vocab_size=PICTURE + 5, max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        use_parallel_residual=False,
    ))  # fmt: skip
    generator, shaken = torch.Generator().manual_seed(0), 0.15 * (32 / size.words["hidden_size"]) ** 0.5
    for name, model in (("clip", tower), ("neox", language)):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator) * shaken)
        model.eval().save_pretrained(path / name)
    write_tokenizer(path / "neox", NEOX_SPECIALS, eos_token="<|endoftext|>", pad_token="<|padding|>")
    changes = (f"encoder.path={path / 'clip'}", f"backbone.path={path / 'neox'}", "context=256")
    return tower, language, changes, str(path / "neox")


@pytest.mark.parametrize("start", ["", "module."])
@small_and_published([SMALL_FLAMINGO], [FLAMINGO])
@torch.no_grad()
def test_openflamingo_is_what_was_released(start: str, size: Flamingo, tmp_path: Path) -> None:
    tower, language, changes, tokenizer = beside(tmp_path, size)
    state = random_state(size.shapes(start))
    (tmp_path / "theirs").mkdir()
    held = {"epoch": 3, "model_state_dict": state} if start else state
    torch.save(held, tmp_path / "theirs" / "checkpoint.pt")
    model, account = read_published(tmp_path / "theirs", tokenizer, changes)
    assert set(account.loaded) == set(state)
    assert {why.rpartition("/")[2] for why in account.new.values()} == {"clip", "neox"}
    text = {**language.state_dict(), "head.weight": language.get_output_embeddings().weight}
    name = f"{start}lang_encoder.gpt_neox.layers."

    def reference(model: Model, laid: LaidOut) -> tuple[Think, list[int]]:
        tiles = collate([[laid]], model.layout).tiles
        mean, std = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
        pixels = (tiles / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        features = tower(pixel_values=pixels).last_hidden_state[:, 1:] if len(tiles) else []
        media = [resample(state, f"{start}perceiver.", x, 64) for x in features]

        def think(ids: list[int]) -> Tensor:
            last = looking(ids, PICTURE)
            embedded = text["gpt_neox.embed_in.weight"][torch.tensor(ids)]

            def enter(n: int, x: Tensor) -> Tensor:
                return gated(state, f"{name}{n}.gated_cross_attn_layer.", x, media, last)

            return neox(text, embedded, size.words["num_attention_heads"], enter)

        return think, laid.ids.tolist()

    agrees(model, reference)


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("trap-was-sprung", "w")


def test_what_is_wrong_with_a_checkpoint_of_openflamingo_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, changes, tokenizer = beside(tmp_path)
    state, file = random_state(SMALL_FLAMINGO.shapes()), tmp_path / "theirs" / "checkpoint.pt"
    file.parent.mkdir()

    def refused(match: str, held: Any, changes: tuple[str, ...] = changes) -> None:
        torch.save(held, file)
        with pytest.raises(ConfigError, match=match):
            read_published(file.parent, tokenizer, changes)

    block = "lang_encoder.gpt_neox.layers.1.gated_cross_attn_layer."
    refused(r"checkpoint.pt: is cut short, or holds more than tensors, which is never run", {"a": Trap()})
    assert not Path("trap-was-sprung").exists()
    refused(r"'perceiver.norm.weight' has shape \[3\]; its config says \[32\]",
            state | {"perceiver.norm.weight": torch.zeros(3)})  # fmt: skip
    refused(r"lacks 1 tensors .* 'fusion.blocks.1.attention_gate'",
            {key: value for key, value in state.items() if key != f"{block}attn_gate"})  # fmt: skip
    refused(r"unknown key 'perceivers.x'", state | {"perceivers.x": torch.zeros(1)})
    refused(r"checkpoint.pt: lacks 'perceiver.latents'", {"x": torch.zeros(1)})
    refused(r"has no keys 'lang_encoder.\*.N.gated_cross_attn_layer.\*'",
            {key: value for key, value in state.items() if key.startswith("perceiver")})  # fmt: skip
    mpt = {key.replace("gpt_neox.layers", "transformer.blocks"): value for key, value in state.items()}
    refused(r"its language model is an MPT, .* \(ALiBi\)", mpt)
    refused(r"openai/clip-vit-large-patch14: no such file or folder", state, changes[1:])


def llama(s: State, start: str, x: Tensor, heads: int, groups: int, theta: float, layers: list[str],
          enter: Callable[[int, Tensor], Tensor]) -> Tensor:  # fmt: skip
    """Embeddings to hidden states behind the last norm; `groups` are the heads of keys and values."""
    for n, name in enumerate(layers):
        x = enter(n, x)
        y = rms_norm(s[f"{name}input_layernorm.weight"], x)
        q, k, v = (linear(s, f"{name}self_attn.{part}_proj", y) for part in "qkv")
        q, k = rotated(q, heads, theta), rotated(k, groups, theta)
        k, v = (part.view(len(x), groups, -1).repeat_interleave(heads // groups, 1).flatten(1) for part in (k, v))
        x = x + linear(s, f"{name}self_attn.o_proj", attend(q, k, v, heads, causal(len(x))))
        y = rms_norm(s[f"{name}post_attention_layernorm.weight"], x)
        inner = F.silu(linear(s, f"{name}mlp.gate_proj", y)) * linear(s, f"{name}mlp.up_proj", y)
        x = x + linear(s, f"{name}mlp.down_proj", inner)
    return rms_norm(s[f"{start}norm.weight"], x)


def eva(s: State, start: str, pixels: Tensor, heads: int) -> Tensor:
    """The class token and the patches of the last block."""
    x = patches_of(s, f"{start}patch_embed.proj.weight", pixels) + s[f"{start}patch_embed.proj.bias"]
    x = torch.cat([s[f"{start}cls_token"][0], x]) + s[f"{start}pos_embed"][0]
    for n in range(2):
        name = f"{start}blocks.{n}."
        bias = torch.cat([s[f"{name}attn.q_bias"], torch.zeros(x.shape[1]), s[f"{name}attn.v_bias"]])
        q, k, v = (x @ s[f"{name}attn.qkv.weight"].T + bias).chunk(3, dim=1)
        x = x + layer_norm(s, f"{name}norm1", linear(s, f"{name}attn.proj", attend(q, k, v, heads)), 1e-6)
        y = linear(s, f"{name}mlp.fc2", gelu(linear(s, f"{name}mlp.fc1", x)))
        x = x + layer_norm(s, f"{name}norm2", y, 1e-6)
    return x


def eva_shapes(start: str, dim: int, mlp: int, depth: int, patch: int, places: int, joint: int) -> Shapes:
    shapes: Shapes = {f"{start}cls_token": (1, 1, dim), f"{start}pos_embed": (1, places + 1, dim),
                      f"{start}patch_embed.proj.weight": (dim, 3, patch, patch),
                      f"{start}patch_embed.proj.bias": (dim,)}  # fmt: skip
    shapes |= linear_shapes(f"{start}head", dim, joint)
    norms = [f"{start}norm"]
    for n in range(depth):
        block = f"{start}blocks.{n}."
        norms += [f"{block}norm1", f"{block}norm2"]
        shapes |= {f"{block}attn.qkv.weight": (3 * dim, dim), f"{block}attn.q_bias": (dim,),
                   f"{block}attn.v_bias": (dim,)} | linear_shapes(f"{block}attn.proj", dim, dim)  # fmt: skip
        shapes |= linear_shapes(f"{block}mlp.fc1", dim, mlp) | linear_shapes(f"{block}mlp.fc2", mlp, dim)
    return shapes | {f"{norm}.{kind}": (dim,) for norm in norms for kind in ("weight", "bias")}


def infimm_shapes(eyes: Shapes, dim: int, mlp: int, layers: int, rows: int, media: int, every: int) -> Shapes:
    """Each block and layer under both names that the released file has."""
    start = "lang_encoder."
    shapes: Shapes = {f"{start}model.embed_tokens.weight": (rows, dim), f"{start}lm_head.weight": (rows, dim),
                      f"{start}model.norm.weight": (dim,)}  # fmt: skip
    for n in range(layers):
        for layer in (f"{start}model.layers.{n}.decoder_layer.", f"{start}old_decoder_blocks.{n}."):
            shapes |= {f"{layer}self_attn.{part}_proj.weight": (dim, dim) for part in "qkvo"}
            shapes |= {f"{layer}mlp.{part}_proj.weight": (mlp, dim) for part in ("gate", "up")}
            shapes |= {f"{layer}mlp.down_proj.weight": (dim, mlp), f"{layer}input_layernorm.weight": (dim,),
                       f"{layer}post_attention_layernorm.weight": (dim,)}  # fmt: skip
        if (n + 1) % every == 0:
            inner = 768 if dim > 768 else 128
            for block in (f"{start}model.layers.{n}.gated_cross_attn_layer.", f"{start}gated_cross_attn_layers.{n}."):
                shapes |= gated_shapes(block, dim, media, inner, 1, dim)
    return eyes | shapes


def first_name(key: str) -> str:
    """Of the two under which InfiMM-HD's file has a tensor."""
    key = re.sub(r"old_decoder_blocks\.(\d+)", r"model.layers.\1.decoder_layer", key)
    return re.sub(r"encoder.gated_cross_attn_layers\.(\d+)", r"encoder.model.layers.\1.gated_cross_attn_layer", key)


def infimm_settings(head: int, every: int, **language: Any) -> dict[str, Any]:
    return {"image_token_id": 32001, "eoc_token_id": 32000, "cross_attn_every_n_layers": every,
            "visual": {"head_width": head, "postnorm": True, "xattn": False, "fusedLN": False},
            "language": {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_scaling": None, **language}}  # fmt: skip


VICUNA_SPECIALS = ("<unk>", "<s>", "</s>")


class InfiMM(NamedTuple):
    """Two layers of EVA, `layers` of Vicuna with a block in every second."""

    eyes: int
    eyes_mlp: int
    eyes_head: int
    patch: int
    places: int
    layers: int
    dim: int
    mlp: int
    heads: int


@small_and_published([InfiMM(24, 40, 8, 7, 16, 4, 32, 48, 4)], [InfiMM(1792, 15360, 112, 14, 256, 2, 5120, 13824, 40)])
@torch.no_grad()
def test_infimm_hd_is_what_was_released(size: InfiMM, tmp_path: Path) -> None:
    sizes = {"hidden_size": size.dim, "intermediate_size": size.mlp, "num_hidden_layers": size.layers,
             "num_attention_heads": size.heads, "num_key_value_heads": size.heads, "vocab_size": 264,
             "max_position_embeddings": 512}  # fmt: skip
    eyes = eva_shapes("vision_encoder.", size.eyes, size.eyes_mlp, 2, size.patch, size.places, 12)
    made = random_state(infimm_shapes(eyes, size.dim, size.mlp, size.layers, 264, size.eyes, 2))
    state = {key: made[first_name(key)] for key in made}
    (tmp_path / "config.json").write_text(json.dumps(infimm_settings(size.eyes_head, 2, **sizes)))
    write_tokenizer(tmp_path, VICUNA_SPECIALS, bos_token="<s>", eos_token="</s>")
    torch.save(state, tmp_path / "vite_vicuna13b_bf16.ckpt")
    model, account = read_published(tmp_path)
    assert not account.new
    assert set(account.loaded) | set(account.left) == set(state)
    assert all("old_decoder" in key or "attn_layers." in key or key[15:20] in ("norm.", "head.")
               for key in account.left)  # fmt: skip
    picture, start = model.tokenizer.id_of("<image>"), "lang_encoder.model."
    assert picture == len(VICUNA_SPECIALS) + 256 + 1
    mean, std = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    layers = [f"{start}layers.{n}.decoder_layer." for n in range(size.layers)]

    def reference(model: Model, laid: LaidOut) -> tuple[Think, list[int]]:
        tiles = collate([[laid]], model.layout).tiles
        pixels = (tiles / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        media = [eva(state, "vision_encoder.", one, size.eyes // size.eyes_head) for one in pixels]

        def think(ids: list[int]) -> Tensor:
            last = looking(ids, picture)

            def enter(n: int, x: Tensor) -> Tensor:
                if (n + 1) % 2 or picture not in ids:  # the flag of a sample without pictures is 0
                    return x
                return gated(state, f"{start}layers.{n}.gated_cross_attn_layer.", x, media, last)

            embedded = state[f"{start}embed_tokens.weight"][torch.tensor(ids)]
            hidden = llama(state, start, embedded, size.heads, size.heads, 1e4, layers, enter)
            return linear(state, "lang_encoder.lm_head", hidden)

        return think, laid.ids.tolist()

    agrees(model, reference)
    settings = infimm_settings(size.eyes_head, 3, **sizes)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"cross_attn_every_n_layers is 3 and the first block stands before layer 1"):
        read_published(tmp_path)


def test_infimm_hd_is_as_large_as_what_was_released(tmp_path: Path) -> None:
    """Counted by hand from section 2.1 of the specification: ten blocks, 64 of EVA2-CLIP-E with biases of queries and
    values (ours have those of keys, too, which are zeros), and Vicuna-13B with two more tokens."""
    block = 2 * 768 * 5120 + 1536 * 1792 + 2 * 5120**2 + 6 * 5120
    seeing = 64 * (4 * 1792**2 + 3 * 1792 + 2 * 1792 * 15360 + 15360 + 1792 + 4 * 1792)
    seeing += 3 * 14**2 * 1792 + 1792 + 258 * 1792
    layer = 4 * 5120**2 + 3 * 5120 * 13824 + 2 * 5120
    writing = 40 * layer + 2 * 32002 * 5120 + 5120
    shapes = infimm_shapes(
        eva_shapes("vision_encoder.", 1792, 15360, 64, 14, 256, 1024), 5120, 13824, 40, 32002, 1792, 4
    )
    sizes = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
             "num_key_value_heads": 40, "vocab_size": 32002, "max_position_embeddings": 4096}  # fmt: skip
    model, _ = at_full_size(Announced(tmp_path / "there", infimm_settings(112, 4, **sizes), shapes))
    assert (size_of(model.fusion), size_of(model.backbone)) == (10 * block, writing)
    assert size_of(model.encoder) - 64 * 1792 == seeing
    assert model.config.encoder.tokens == 257
    ours = on_meta(find_recipe("infimm-hd").model)
    assert (size_of(ours.fusion), size_of(ours.backbone)) == (10 * block, writing)


# --- Mono-InternVL ---


def mono_shapes(eye: int, patch: int, places: int, dim: int, mlp: int, layers: int, rows: int, groups: int,
                head: int) -> Shapes:  # fmt: skip
    start = "vision_model.embeddings."
    shapes: Shapes = {f"{start}class_embedding": (1, 1, eye), f"{start}position_embedding": (1, places + 1, eye),
                      f"{start}patch_embedding.weight": (eye, 3, patch, patch),
                      f"{start}patch_embedding.bias": (eye,), "mlp1.0.weight": (4 * eye,),
                      "mlp1.0.bias": (4 * eye,)}  # fmt: skip
    shapes |= linear_shapes("mlp1.1", 4 * eye, dim) | linear_shapes("mlp1.3", dim, dim)
    start = "language_model."
    shapes |= {f"{start}model.tok_embeddings.weight": (rows, dim), f"{start}output.weight": (rows, dim),
               f"{start}model.norm.weight": (dim,)}  # fmt: skip
    for n in range(layers):
        layer = f"{start}model.layers.{n}."
        shapes |= {f"{layer}attention.wqkv.weight": (dim + 2 * groups * head, dim),
                   f"{layer}attention.wo.weight": (dim, dim), f"{layer}attention_norm.weight": (dim,),
                   f"{layer}ffn_norm.weight": (dim,)}  # fmt: skip
        for expert in ("feed_forward", "feed_forward_ve"):
            shapes |= {f"{layer}{expert}.w1.weight": (mlp, dim), f"{layer}{expert}.w3.weight": (mlp, dim),
                       f"{layer}{expert}.w2.weight": (dim, mlp)}  # fmt: skip
    return shapes


class Mono(NamedTuple):
    """Two layers of InternLM2 with visual experts, and what embeds pictures."""

    eye: int
    patch: int
    places: int
    dim: int
    mlp: int
    heads: int
    groups: int

    def shapes(self) -> Shapes:
        return mono_shapes(self.eye, self.patch, self.places, self.dim, self.mlp, 2, 270, self.groups,
                           self.dim // self.heads)  # fmt: skip

    def settings(self, **changes: Any) -> dict[str, Any]:
        sizes = {"vocab_size": 270, "hidden_size": self.dim, "intermediate_size": self.mlp, "num_hidden_layers": 2,
                 "num_attention_heads": self.heads, "num_key_value_heads": self.groups,
                 "max_position_embeddings": 4096}  # fmt: skip
        return mono_settings(**sizes) | changes


SMALL_MONO = Mono(12, 7, 16, 32, 48, 4, 2)


def internlm_2(s: State, x: Tensor, patches: Tensor, heads: int, groups: int) -> Tensor:
    """Embeddings to logits; `patches` bool `[tokens]` says which go through the visual experts."""
    start, share = "language_model.model.", heads // groups
    for n in range(2):
        layer = f"{start}layers.{n}."
        y = rms_norm(s[f"{layer}attention_norm.weight"], x)
        qkv = linear(s, f"{layer}attention.wqkv", y).view(len(x), groups, share + 2, -1)
        q, k, v = (part.flatten(1) for part in (qkv[:, :, :share], qkv[:, :, -2], qkv[:, :, -1]))
        q, k = rotated(q, heads, 1e6), rotated(k, groups, 1e6)
        k, v = (part.view(len(x), groups, -1).repeat_interleave(share, 1).flatten(1) for part in (k, v))
        x = x + linear(s, f"{layer}attention.wo", attend(q, k, v, heads, causal(len(x))))
        y = rms_norm(s[f"{layer}ffn_norm.weight"], x)
        text, seen = (
            linear(s, f"{name}.w2", F.silu(linear(s, f"{name}.w1", y)) * linear(s, f"{name}.w3", y))
            for name in (f"{layer}feed_forward", f"{layer}feed_forward_ve")
        )
        x = x + torch.where(patches[:, None], seen, text)
    return linear(s, "language_model.output", rms_norm(s[f"{start}norm.weight"], x))


def shuffled(x: Tensor, side: int) -> Tensor:
    """`[side * side, c]` to a quarter of the tokens, four times as wide, as InternVL's second version does it."""
    x = x.view(side, side // 2, -1).transpose(0, 1).contiguous()
    return x.view(side // 2, side // 2, -1).transpose(0, 1).flatten(0, 1)


def mono_settings(**language: Any) -> dict[str, Any]:
    return {
        "model_type": "internvl_chat", "ps_version": "v2", "downsample_ratio": 0.5, "use_thumbnail": True,
        "dynamic_image_size": True, "min_dynamic_patch": 1, "max_dynamic_patch": 4, "template": "internlm2-chat",
        "vision_config": {"model_type": "intern_vit_patch"},
        "llm_config": {"architectures": ["InternLM2VEForCausalLM"], "model_type": "internlm2", "bias": False,
                       "rope_theta": 1000000, "rope_scaling": {"type": "dynamic", "factor": 2.0},
                       "rms_norm_eps": 1e-5, **language},
    }  # fmt: skip


INTERN_SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")


@small_and_published([SMALL_MONO], [Mono(1024, 14, 1024, 2048, 8192, 16, 8)])
@torch.no_grad()
def test_mono_internvl_is_what_was_released(size: Mono, tmp_path: Path) -> None:
    state = random_state(size.shapes())
    (tmp_path / "config.json").write_text(json.dumps(size.settings()))
    write_tokenizer(tmp_path, INTERN_SPECIALS, bos_token="<s>", eos_token="</s>")
    save_file(state, tmp_path / "model.safetensors")
    model, account = read_published(tmp_path)
    assert not account.new
    assert set(account.loaded) == set(state)
    mean, std, eye = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "vision_model.embeddings."
    assert [model.layout.cut(size).plan.tiles for size in ((28, 28), (60, 28), (28, 90))] == [1, 3, 4]

    def see(tile: Tensor) -> Tensor:
        pixels = (tile / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        x = patches_of(state, f"{eye}patch_embedding.weight", pixels) + state[f"{eye}patch_embedding.bias"]
        x = shuffled(x + state[f"{eye}position_embedding"][0, 1:], math.isqrt(size.places))
        return linear(state, "mlp1.3", gelu(linear(state, "mlp1.1", layer_norm(state, "mlp1.0", x))))

    def reference(model: Model, laid: LaidOut) -> tuple[Think, list[int]]:
        tiles, context = collate([[laid]], model.layout).tiles, INTERN_SPECIALS.index("<IMG_CONTEXT>")
        seen = torch.cat([torch.zeros(0, size.dim), *(see(tile) for tile in tiles)])

        def think(ids: list[int]) -> Tensor:
            there = torch.tensor(ids) == context
            x = state["language_model.model.tok_embeddings.weight"][torch.tensor(ids)]
            x[there] = seen
            return internlm_2(state, x, there, size.heads, size.groups)

        return think, np.where(laid.media, context, laid.ids).tolist()

    agrees(model, reference)


def test_what_is_wrong_with_mono_internvl_is_named(tmp_path: Path) -> None:
    state = random_state(SMALL_MONO.shapes())
    write_tokenizer(tmp_path, INTERN_SPECIALS, bos_token="<s>", eos_token="</s>")

    def refused(match: str, tensors: dict[str, Tensor] = state, **changes: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(SMALL_MONO.settings(**changes)))
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(ConfigError, match=match):
            read_published(tmp_path)

    packed = "language_model.model.layers.1.attention.wqkv.weight"
    refused(rf"'{packed}' has 9 rows, expected a multiple of 4 \+ 2 x 2 heads", state | {packed: torch.zeros(9, 32)})
    refused(rf"'{packed}' has shape \[16, 32\]; its config says \[32, 32\] \(our 'backbone.*q_proj.weight'\)",
            state | {packed: torch.zeros(32, 32)})  # fmt: skip
    refused(r"lacks 3 tensors .*k_proj", {key: value for key, value in state.items() if key != packed})
    visual = "language_model.model.layers.0.feed_forward_ve.w1.weight"
    refused(r"lacks 1 tensors .*'fusion.twins.0-mlp.gate_proj.weight'", {k: v for k, v in state.items() if k != visual})
    refused(r"ps_version is 'v1'; what is read has 'v2'", ps_version="v1")
    refused(r"only Mono-InternVL is read", llm_config={"architectures": ["Qwen2ForCausalLM"]})
    refused(r"llm_config has no vocab_size", llm_config={"architectures": ["InternLM2VEForCausalLM"]})


def test_mono_internvl_is_as_large_as_what_was_released(tmp_path: Path) -> None:
    """Counted by hand from section 8.1 of the specification: 24 layers with two feed-forwards each."""
    layer = 2048 * (2048 + 2 * 8 * 128) + 2048**2 + 2 * 2048
    expert = 3 * 2048 * 8192
    sizes = {"vocab_size": 92553, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
             "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 32768}  # fmt: skip
    shapes = mono_shapes(1024, 14, 1024, 2048, 8192, 24, 92553, 8, 128)
    model, left = at_full_size(Announced(tmp_path / "there", mono_settings(**sizes), shapes))
    assert not left
    assert size_of(model.fusion) == 24 * expert
    assert size_of(model.backbone) == 24 * (layer + expert) + 2 * 92553 * 2048 + 2048
    assert model.layout.tokens_for((448, 448)) == 256 + 2
    ours = on_meta(find_recipe("mono-internvl").model)
    assert (size_of(ours.fusion), size_of(ours.backbone)) == (size_of(model.fusion), size_of(model.backbone))
