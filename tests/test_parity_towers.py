"""Our two towers against CLIP and SigLIP of transformers, and CLIP's ResNet against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import toy_model, toy_recipe

from sensorium.backbones.backbone import Attention, Backbone
from sensorium.connectors.connector import Connector
from sensorium.data.batch import Batch, Pictures
from sensorium.data.tiling import Cut, TilePlan
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.families.importing import fill
from sensorium.families.towers import CLIP, Siglip, TwoTowers
from sensorium.fusion.fusion import Fusion
from sensorium.heads.head import Head
from sensorium.model import Model, ModelConfig

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
END, PAD, VOCAB = 49, 0, 50
TEXTS = ((3, 7, 9, 4, END), (5, END), (8, 8, 8, 2, 1, 6, END), (4, 4, END))

torch.set_num_threads(1)


def reference(kind: str) -> Any:
    """A random CLIP or SigLIP of 2 layers; pictures of 30 pixels, so that the patches of 7 leave a border out."""
    torch.manual_seed(0)
    vision = {**SIZES, "image_size": 30, "patch_size": 7}
    text = {**SIZES, "vocab_size": VOCAB, "max_position_embeddings": 9, "eos_token_id": END, "pad_token_id": PAD}
    if kind == "clip":
        text["hidden_size"] = 24
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)
    else:
        config = transformers.SiglipConfig(vision_config=vision, text_config=text)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


FAMILIES: dict[str, TwoTowers] = {"clip": CLIP(), "siglip": Siglip()}


def ours(kind: str, theirs: Any, state: dict[str, Tensor] | None = None) -> Model:
    """The reference in our parts, with its weights or with `state`."""
    family = FAMILIES[kind]
    colours = {"image_mean": (0.4, 0.5, 0.6), "image_std": (0.2, 0.3, 0.4)}
    settings = type(family).translate(theirs.config.to_dict(), colours)
    base = toy_recipe().model.to_dict()
    model = toy_model()  # its tokenizer: ids are given here
    built = ModelConfig.from_dict(base | {"assembly": "tiles"} | settings)
    model = Model(built, Vocabulary(model.tokenizer))  # type: ignore[arg-type]
    found = theirs.state_dict() if state is None else state
    assert fill(model, family.table(built).sort(found, "theirs"), {}, "theirs") == {}
    return model.eval()


class Vocabulary:
    """A tokenizer that has as many tokens as the reference."""

    vocab_size = VOCAB

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def batch_of(tiles: Tensor, length: int | None = None) -> Batch:
    """Each text with a picture; two packed in each row, with padding between and behind. With `length`, texts are
    filled up to it as SigLIP has them."""
    texts = [text + (PAD,) * ((length or 0) - len(text)) for text in TEXTS]
    width = max(len(a) + len(b) for a, b in (texts[:2], texts[2:])) + 3
    ids, documents, positions = (torch.zeros(2, width, dtype=torch.int64) for _ in range(3))
    starts = []
    for number, text in enumerate(texts):
        row, start = number // 2, (len(texts[number - 1]) + 1) * (number % 2)
        ids[row, start : start + len(text)] = torch.tensor(text)
        documents[row, start : start + len(text)] = number % 2 + 1
        positions[row, start : start + len(text)] = torch.arange(len(text))
        starts.append(start)
    one = torch.ones(4, dtype=torch.int64)
    pictures = Pictures(
        torch.tensor([0, 0, 1, 1]), torch.tensor(starts), torch.tensor([1, 2, 1, 2]), one, torch.zeros_like(one),
        tuple(Cut((30, 30), TilePlan()) for _ in range(4)),
    )  # fmt: skip
    none = torch.zeros_like(ids, dtype=torch.bool)
    return Batch(ids, documents > 0, positions, documents, none, tiles, pictures, samples=(("a", "b"), ("c", "d")))


@pytest.fixture
def tiles() -> Tensor:
    return torch.randint(0, 256, (4, 3, 30, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_embeddings_and_logits_are_those_of_transformers(kind: str, tiles: Tensor) -> None:
    theirs = reference(kind)
    model = ours(kind, theirs)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    padded = torch.tensor([text + (PAD,) * (9 - len(text)) for text in TEXTS])
    wanted = theirs(input_ids=padded, pixel_values=(tiles / 255 - mean) / std)
    _, pictures, texts = model.embed_batch(batch_of(tiles, 9 if kind == "siglip" else None))
    torch.testing.assert_close(pictures.vectors, wanted.image_embeds, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(texts.vectors, wanted.text_embeds, rtol=1e-4, atol=1e-4)
    found = model.embedder.logits(pictures.vectors, texts.vectors)
    torch.testing.assert_close(found, wanted.logits_per_image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_every_key_is_accounted_for(kind: str) -> None:
    theirs = reference(kind)
    state = theirs.state_dict()
    with pytest.raises(ConfigError, match=r"unknown key 'text_model\.extra\.weight'"):
        ours(kind, theirs, {**state, "text_model.extra.weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"'backbone\.blocks\.1\.qkv\.bias' stacks 3 tensors and there are only 2"):
        ours(kind, theirs, {k: v for k, v in state.items() if k != "text_model.encoder.layers.1.self_attn.k_proj.bias"})
    with pytest.raises(
        ConfigError, match=r"lacks 1 tensors that its config asks for, first our 'backbone\.norm\.bias'"
    ):
        ours(kind, theirs, {k: v for k, v in state.items() if not k.endswith("final_layer_norm.bias")})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("clip", "CLIPConfig"), ("siglip", "SiglipConfig")],
)
def test_the_recipes_are_as_large_as_the_published_models(name: str, wanted: str) -> None:
    from sensorium.recipe import find_recipe

    sizes = {"vision_config": {"patch_size": 16}}
    with torch.device("meta"):
        theirs = transformers.AutoModel.from_config(getattr(transformers, wanted)(**sizes))
    vocab = theirs.config.text_config.vocab_size
    config = find_recipe(name).model
    tokenizer: Any = Vocabulary(toy_model().tokenizer)
    tokenizer.vocab_size = vocab
    with torch.device("meta"):
        found = Model(config, tokenizer)
    published = {"clip": 149_620_737, "siglip": 203_155_970}[name]
    assert sum(p.numel() for p in found.parameters()) == sum(p.numel() for p in theirs.parameters()) == published


def resnet(config: dict[str, Any]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    encoder: Any = Encoder.Config.model_validate({"type": "modified-resnet", **config}).build().eval()
    pool: Any = Connector.Config.model_validate({"type": "attention-pool", "head_dim": 64}).build(
        in_dim=encoder.config.dim, out_dim=40, grid=encoder.config.grid
    )
    with torch.no_grad():
        for name, value in [*encoder.state_dict().items(), *pool.state_dict().items()]:
            if value.is_floating_point():
                value.copy_(
                    torch.rand_like(value) + 0.5 if "running_var" in name else value + 0.1 * torch.randn_like(value)
                )
    return encoder, pool


@torch.no_grad()
def test_the_resnet_is_what_clip_defines() -> None:
    encoder, pool = resnet({"image_size": 64, "width": 8, "layers": [1, 2, 1, 1]})
    state = encoder.state_dict()
    tiles = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (encoder.config.mean, encoder.config.std))

    def norm(x: Tensor, name: str) -> Tensor:
        w, b, m, v = (state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        return (x - m[:, None, None]) / (v[:, None, None] + 1e-5).sqrt() * w[:, None, None] + b[:, None, None]

    x = (tiles / 255 - mean) / std
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = norm(F.conv2d(x, state[f"conv{number}.weight"], stride=stride, padding=1), f"bn{number}").relu()
    x = F.avg_pool2d(x, 2)
    for stage, blocks in enumerate((1, 2, 1, 1), 1):
        for block in range(blocks):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(F.conv2d(x, state[f"{at}.conv1.weight"]), f"{at}.bn1").relu()
            y = norm(F.conv2d(y, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2").relu()
            y = norm(F.conv2d(F.avg_pool2d(y, stride), state[f"{at}.conv3.weight"]), f"{at}.bn3")
            if block == 0:
                x = norm(F.conv2d(F.avg_pool2d(x, stride), state[f"{at}.downsample.0.weight"]), f"{at}.downsample.1")
            x = (x + y).relu()
    features = encoder(tiles)
    torch.testing.assert_close(features, x.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)

    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.positional_embedding[:, None]
    q, k, v, c = pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj
    wanted, _ = F.multi_head_attention_forward(
        tokens[:1], tokens, tokens, 256, 4, None, torch.cat([q.bias, k.bias, v.bias]), None, None, False, 0.0,
        c.weight, c.bias, training=False, use_separate_proj_weight=True, q_proj_weight=q.weight,
        k_proj_weight=k.weight, v_proj_weight=v.weight, need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(pool(features)[:, 0], wanted[0], rtol=1e-4, atol=1e-4)


def test_the_resnet_has_the_size_of_rn50() -> None:
    with torch.device("meta"):
        encoder: Any = Encoder.Config.model_validate("modified-resnet").build()
        pool: Any = Connector.Config.model_validate("attention-pool").build(
            in_dim=encoder.config.dim, out_dim=1024, grid=encoder.config.grid
        )
        towers: Any = Fusion.Config.model_validate({"type": "towers", "joint_dim": 1024})
        text = {"type": "text-tower", "width": 512, "depth": 12, "num_heads": 8}
        backbone = Backbone.Config.model_validate(text).build(vocab_size=49408)
        head = Head.Config.model_validate("embedding").build(
            weight=backbone.output_weight(), bias=None, media_dim=towers.joint_dim
        )
    assert pool.positional_embedding.shape == (50, 2048)
    assert pool.c_proj.weight.shape == (1024, 2048)
    count = sum(p.numel() for part in (encoder, pool, backbone, head) for p in part.parameters())
    assert count == 102_007_137, "as open_clip counts RN50"


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
@torch.no_grad()
def test_sentence_encoders_give_the_hidden_states_of_transformers(kind: str) -> None:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, **SIZES, vocab_size=VOCAB, max_position_embeddings=20, pad_token_id=1
    )
    theirs = transformers.AutoModel.from_config(config, add_pooling_layer=False).eval()
    tower: Any = Backbone.Config.model_validate({"type": "hf-encoder", "architecture": config.to_dict()})
    assert tower.max_positions == (20 if kind == "bert" else 18)
    tower = tower.build(vocab_size=VOCAB).eval()
    tower.model.load_state_dict(theirs.state_dict())
    ids = torch.tensor([[5, 9, 8, 7, 3, 30, 31, 2, 1]])
    documents = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 2, 0]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 0]])
    found = tower(tower.embed(ids), positions, Attention.within(documents, causal=False))
    for start, end in ((0, 3), (3, 8)):
        wanted = theirs(ids[:, start:end]).last_hidden_state
        torch.testing.assert_close(found[:, start:end], wanted, rtol=1e-4, atol=1e-4)


def test_ids_that_the_text_tower_cannot_place_are_refused() -> None:
    with pytest.raises(ConfigError, match="context is 96 and the backbone has 77 positions"):
        toy_recipe("model.backbone={type: text-tower, width: 32}")
    with pytest.raises(ConfigError, match="connector 'class-token' reads a class token"):
        toy_recipe("model.connector=class-token")
