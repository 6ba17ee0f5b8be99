"""Folders of open_clip, against transformers' CLIP with the same weights, mapped by hand; its ResNet against ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from published import SPECIALS, noise, shaken, write_tokenizer
from safetensors.torch import save_file
from test_families import TRAP, Trap
from torch import Tensor
from toy import toy_model

from sensorium.connectors.connector import Connector
from sensorium.data.batch import collate
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.families.importing import read_published
from sensorium.interop.open_clip import vision_config
from sensorium.sample import Image, Text, as_sample
from sensorium.training.checkpoint import load_model

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
END = 5
TEXTS = ("a dog", "two dogs and a cat", "red")
torch.set_num_threads(1)


def clip(quick: bool = True) -> Any:
    """A random CLIP; pictures of 30 pixels, so that patches of 7 leave a border out, and heads of another width."""
    sizes = {"num_hidden_layers": 3, "hidden_act": "quick_gelu" if quick else "gelu"}
    vision = {**sizes, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 40,
              "image_size": 30, "patch_size": 7}  # fmt: skip
    text = {**sizes, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 64,
            "vocab_size": len(SPECIALS) + 256, "max_position_embeddings": 24, "eos_token_id": END}  # fmt: skip
    return shaken(transformers.CLIPModel(
        transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)
    ))  # fmt: skip


def blocks(theirs: dict[str, Tensor], tower: str, start: str) -> dict[str, Tensor]:
    found = {}
    for i in range(3):
        old, new = f"{tower}.encoder.layers.{i}.", f"{start}transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            parts = [theirs[f"{old}self_attn.{name}_proj.{kind}"] for name in "qkv"]
            found[f"{new}attn.in_proj_{kind}"] = torch.cat(parts)
            found[f"{new}attn.out_proj.{kind}"] = theirs[f"{old}self_attn.out_proj.{kind}"]
            found[f"{new}ln_1.{kind}"] = theirs[f"{old}layer_norm1.{kind}"]
            found[f"{new}ln_2.{kind}"] = theirs[f"{old}layer_norm2.{kind}"]
            found[f"{new}mlp.c_fc.{kind}"] = theirs[f"{old}mlp.fc1.{kind}"]
            found[f"{new}mlp.c_proj.{kind}"] = theirs[f"{old}mlp.fc2.{kind}"]
    return found


def their_state(model: Any, text: str = "") -> dict[str, Tensor]:
    """The weights of a CLIPModel under open_clip's names; `text` comes before those of the text tower."""
    theirs = model.state_dict()
    seen, read = "vision_model.", "text_model."
    found = {
        "visual.conv1.weight": theirs[f"{seen}embeddings.patch_embedding.weight"],
        "visual.class_embedding": theirs[f"{seen}embeddings.class_embedding"],
        "visual.positional_embedding": theirs[f"{seen}embeddings.position_embedding.weight"],
        "visual.proj": theirs["visual_projection.weight"].T,
        f"{text}token_embedding.weight": theirs[f"{read}embeddings.token_embedding.weight"],
        f"{text}positional_embedding": theirs[f"{read}embeddings.position_embedding.weight"],
        f"{text}text_projection": theirs["text_projection.weight"].T,
        "logit_scale": theirs["logit_scale"],
    }
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = theirs[f"{seen}pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = theirs[f"{seen}post_layernorm.{kind}"]
        found[f"{text}ln_final.{kind}"] = theirs[f"{read}final_layer_norm.{kind}"]
    found |= blocks(theirs, "vision_model", "visual.") | blocks(theirs, "text_model", text)
    return {key: value.detach().contiguous().clone() for key, value in found.items()}


def settings(quick: bool = True, **vision: Any) -> dict[str, Any]:
    seen = {"image_size": 30, "layers": 3, "width": 24, "head_width": 12, "patch_size": 7, "mlp_ratio": 1.68, **vision}
    read = {"context_length": 24, "vocab_size": len(SPECIALS) + 256, "width": 16, "heads": 4, "layers": 3}
    model = {"embed_dim": 12, "quick_gelu": quick, "vision_cfg": seen, "text_cfg": read}
    return {"model_cfg": model, "preprocess_cfg": {"mean": MEAN, "std": STD, "resize_mode": "squash"}}


def written(folder: Path, state: dict[str, Tensor], config: dict[str, Any], safe: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    write_tokenizer(folder, bos_token="<s>", eos_token="<|im_end|>")
    if safe:
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.mark.parametrize(("quick", "text", "safe"), [(True, "", False), (False, "text.", True)])
@torch.no_grad()
def test_both_towers_are_those_of_clip(quick: bool, text: str, safe: bool, tmp_path: Path) -> None:
    theirs = clip(quick)
    state = {**their_state(theirs, text), f"{text}attn_mask": torch.zeros(24, 24)}
    folder = written(tmp_path / "theirs", state, settings(quick), safe)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))  # as on the hub, without its weights
    model, account = read_published(folder)
    assert account.family == "open-clip"
    assert not account.new
    assert account.left == {f"{text}attn_mask": "causal, as the fusion says"}
    assert sum(account.parameters.values()) == theirs.num_parameters()
    pictures = [noise(1, (30, 30)), noise(2, (30, 30))]
    ours = model.embed([[Text(one, role="document")] for one in TEXTS] + [[Image(one)] for one in pictures])
    samples = [as_sample([Text(one, role="document")]) for one in TEXTS]
    ids = [model.layout(sample).ids.tolist() for sample in samples]
    padded = torch.tensor([one + [0] * (24 - len(one)) for one in ids])
    tiles = collate([[model.layout(as_sample([Image(one)]))] for one in pictures], model.layout).tiles
    pixels = (tiles / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    wanted = theirs(input_ids=padded, pixel_values=pixels)
    torch.testing.assert_close(ours, torch.cat([wanted.text_embeds, wanted.image_embeds]), rtol=1e-4, atol=1e-4)
    found = model.embedder.logits(ours[3:], ours[:3])
    torch.testing.assert_close(found, wanted.logits_per_image, rtol=1e-4, atol=1e-4)


def encoder(folder: Path, **keys: Any) -> Any:
    config = Encoder.Config.model_validate({"type": "open-clip", "path": str(folder), **keys})
    part = config.build().eval()
    config.load_pretrained(part)
    return part


@torch.no_grad()
def test_the_vision_tower_alone_at_any_layer_and_size(tmp_path: Path) -> None:
    theirs = clip()
    folder = written(tmp_path, their_state(theirs), settings())
    tiles = torch.randint(0, 256, (2, 3, 30, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    larger = tiles.repeat(1, 1, 2, 2)[:, :, :45, :45]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    outputs = theirs.vision_model(pixel_values=(tiles / 255 - mean) / std, output_hidden_states=True)
    normalised = theirs.vision_model.post_layernorm(outputs.last_hidden_state)
    close: Any = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(encoder(folder)(tiles), normalised[:, 1:], **close)
    torch.testing.assert_close(encoder(folder, drop_class_token=False)(tiles), normalised, **close)
    for layer in (-2, -1, 1):
        found = encoder(folder, feature_layer=layer)(tiles)
        torch.testing.assert_close(found, outputs.hidden_states[layer][:, 1:], **close)
    wide = theirs.vision_model(pixel_values=(larger / 255 - mean) / std, interpolate_pos_encoding=True)
    found = encoder(folder, image_size=45)(larger)
    torch.testing.assert_close(found, theirs.vision_model.post_layernorm(wide.last_hidden_state)[:, 1:], **close)
    with pytest.raises(ConfigError, match="feature_layer is 5, the tower has 3"):
        encoder(folder, feature_layer=5)


def test_as_the_encoder_of_a_language_model_it_needs_its_folder_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "theirs", their_state(clip()), settings())
    model = toy_model(f"model.encoder={{type: open-clip, path: {folder}, feature_layer: -2}}")
    assert len(model.encoder.shard_units()) == 2
    model.save(tmp_path / "saved")
    for file in folder.iterdir():
        file.unlink()
    again = load_model(tmp_path / "saved")
    assert again.config.encoder.dim == 24
    for (name, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


@torch.no_grad()
def test_a_resnet_comes_whole(tmp_path: Path) -> None:
    config = settings(layers=[1, 2, 1, 1], width=8, head_width=64, patch_size=None, image_size=64, mlp_ratio=4.0)
    torch.manual_seed(0)
    tower = Encoder.Config.model_validate(vision_config(config)).build().eval()
    pool: Any = Connector.Config.model_validate({"type": "attention-pool", "head_dim": 64}).build(
        in_dim=256, out_dim=12, grid=(2, 2)
    )
    state = {key: value for key, value in their_state(clip()).items() if not key.startswith("visual.")}
    state |= {f"visual.{key}": value for key, value in tower.state_dict().items()}
    state |= {f"visual.attnpool.{key}": value for key, value in pool.state_dict().items()}
    folder = written(tmp_path, {k: v.contiguous().clone() for k, v in state.items()}, config)
    model, account = read_published(folder)
    assert not account.new
    tiles = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(model.connector(model.encoder(tiles)), pool(tower(tiles)), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="is a ResNet; import the folder whole"):
        encoder(folder)


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("vision_cfg", "timm_model_name", "vit_so400m", "vision_cfg.timm_model_name is 'vit_so400m', our towers have"),
        ("vision_cfg", "pool_type", "avg", "vision_cfg.pool_type is 'avg', our towers have 'tok'"),
        ("text_cfg", "hf_model_name", "roberta", "text_cfg.hf_model_name is 'roberta'"),
        ("text_cfg", "layer", 4, "unknown key text_cfg.layer: did you mean 'layers'"),
        ("vision_cfg", "image_size", [30, 60], r"image_size is \[30, 60\]; our towers read squares"),
    ],
)
def test_what_our_towers_cannot_do_is_refused(part: str, key: str, value: Any, said: str, tmp_path: Path) -> None:
    config = settings()
    config["model_cfg"][part][key] = value
    with pytest.raises(ConfigError, match=said):
        read_published(written(tmp_path, their_state(clip()), config))


def test_every_key_is_accounted_for_and_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, config = their_state(clip()), settings()
    folder = written(tmp_path / "theirs", {**state, "visual.extra": torch.zeros(1)}, config)
    with pytest.raises(ConfigError, match=r"unknown key 'visual.extra'"):
        read_published(folder)
    with pytest.raises(ConfigError, match=r"unknown key 'visual.extra'"):
        encoder(folder)
    short = {key: value for key, value in state.items() if key != "visual.ln_pre.bias"}
    written(folder, short, config)
    with pytest.raises(ConfigError, match=r"lacks 1 tensors .* our 'encoder.initial_norm.bias'"):
        read_published(folder)
    with pytest.raises(ConfigError, match=r"lack 1 tensors of the encoder 'open-clip' .*first 'initial_norm.bias'"):
        encoder(folder)
    written(folder, {key: value for key, value in state.items() if not key.startswith("visual")}, config)
    with pytest.raises(ConfigError, match="not in open_clip's layout"):
        encoder(folder)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no weights: expected open_clip_model.safetensors or"):
        read_published(folder)
    monkeypatch.chdir(tmp_path)
    torch.save({"visual.proj": Trap()}, folder / "open_clip_pytorch_model.bin")
    for read in (read_published, encoder):
        with pytest.raises(ConfigError, match="is cut short, or holds more than tensors"):
            read(folder)
    assert not Path(TRAP).exists()


def test_dfn_has_its_published_size() -> None:
    """ViT-H-14-378-quickgelu: 986.71 M parameters, of which the vision tower has 632.68 M (open_clip's profile)."""
    vision = {"image_size": 378, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14}
    model = {"embed_dim": 1024, "quick_gelu": True, "vision_cfg": vision, "text_cfg": {"width": 1024, "layers": 24}}
    config: Any = Encoder.Config.model_validate({"type": "open-clip", "tower": vision_config({"model_cfg": model})})
    assert (config.grid, config.tokens, config.dim, config.cut.num_heads) == ((27, 27), 729, 1280, 16)
    with torch.device("meta"):
        built = config.build()
    projection = 1280 * 1024
    assert round((sum(p.numel() for p in built.parameters()) + projection) / 1e4) == 63268
