"""Gated cross-attention against a second derivation from the specification, written token by token, against the public
relative of Flamingo in transformers, and by what the papers promise of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import Toy, toy_model, toy_recipe

import sensorium as sm
from sensorium.assembly.assembly import TileTokens
from sensorium.assembly.sinusoidal import Sinusoidal, tile_codes
from sensorium.backbones.backbone import Attention
from sensorium.checks import run_checks
from sensorium.connectors.perceiver import Perceiver
from sensorium.data.batch import Batch, Pictures, collate
from sensorium.data.source import Source
from sensorium.data.sources.after_pictures import AfterPictures
from sensorium.data.sources.text_only import TextOnly
from sensorium.data.tiling import Cut, TilePlan
from sensorium.errors import ConfigError, DataError, LayoutError
from sensorium.fusion.cross_attention import CrossAttention, GatedBlock, Looking
from sensorium.fusion.sight import Sight
from sensorium.model import Model
from sensorium.training.stage_run import reading

DIM, MEDIA, ROWS, TOKENS = 12, 10, 2, 14
# Two rows: a sample with two pictures of 3 and 1 features after two tokens of text, one without, one with a picture at
# once and padding; then a sample whose third picture comes at its end.
DOCUMENTS = torch.tensor([[1] * 6 + [2] * 3 + [3] * 3 + [0] * 2, [1] * 14])
STANDING = [(0, 2, 1, 3), (0, 4, 1, 1), (0, 9, 3, 2), (1, 0, 1, 2), (1, 5, 1, 4), (1, 13, 1, 1)]
FLAMINGO = CrossAttention.Config(num_heads=2, head_dim=4, activation="squared-relu", only_pictured=False)
INFIMM = CrossAttention.Config(num_heads=3, head_dim=4, ff_ratio=1, gates="vector")
OPEN = FLAMINGO.override("gates=none")
LLAMA = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": True,
}  # fmt: skip
CROSS = ("model.fusion=cross-attention", "model.fusion.num_heads=2", "model.fusion.head_dim=8")


def batch_of(standing: list[tuple[int, int, int, int]], documents: Tensor = DOCUMENTS) -> Batch:
    row, start, document, features = torch.tensor(standing, dtype=torch.int64).reshape(-1, 4).unbind(1)
    known = Pictures(row, start, document, features, cuts=tuple(Cut((8, 8), TilePlan()) for _ in standing))
    zeros = torch.zeros_like(documents)
    return Batch(
        ids=zeros, supervised=zeros.bool(), positions=zeros, documents=documents, media=zeros.bool(),
        tiles=torch.zeros(len(standing), 3, 8, 8, dtype=torch.uint8), pictures=known, samples=((),) * len(documents),
    )  # fmt: skip


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Batch]:
    dice = torch.Generator().manual_seed(seed)
    batch = batch_of(STANDING)
    features = int(batch.pictures.features.sum())
    return torch.randn(ROWS, TOKENS, DIM, generator=dice), torch.randn(features, MEDIA, generator=dice), batch


def block_of(config: CrossAttention.Config) -> Any:
    torch.manual_seed(1)
    block = GatedBlock(config, DIM, MEDIA)
    for gate in (block.attention_gate, block.feed_forward_gate):
        if gate is not None:
            nn.init.normal_(gate)
    return block


def layer_norm(x: Tensor, norm: nn.Module) -> Tensor:
    weight, bias = norm.state_dict().values()
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * weight + bias


def derived(block: GatedBlock, config: CrossAttention.Config, hidden: Tensor, media: Tensor) -> Tensor:
    """The block token by token, from the papers: a token looks at the features of the pictures of its own sample that
    stand at or before it, the last of them or all."""
    firsts = [sum(one[3] for one in STANDING[:number]) for number in range(len(STANDING))]
    state, out = block.state_dict(), hidden.clone()
    gates = [
        torch.tanh(state[f"{name}_gate"]) if config.gates != "none" else 1 for name in ("attention", "feed_forward")
    ]
    for row in range(ROWS):
        for token in range(TOKENS):
            sample = int(DOCUMENTS[row, token])
            own = [n for n, (r, _, d, _) in enumerate(STANDING) if r == row and d == sample]
            before = [n for n in own if STANDING[n][1] <= token]
            seen = before[-1:] if config.attend == "last" else before
            y = hidden[row, token]
            if config.only_pictured and not own:
                continue
            if seen:
                features = torch.cat([media[firsts[n] : firsts[n] + STANDING[n][3]] for n in seen])
                inner = config.num_heads * config.head_dim
                q = state["to_q.weight"] @ layer_norm(y, block.norm)
                k, v = features @ state["to_kv.weight"][:inner].T, features @ state["to_kv.weight"][inner:].T
                heads = []
                for head in range(config.num_heads):
                    part = slice(head * config.head_dim, (head + 1) * config.head_dim)
                    scores = k[:, part] @ q[part] / math.sqrt(config.head_dim)
                    weights = torch.exp(scores - scores.max())
                    heads.append(weights / weights.sum() @ v[:, part])
                y = y + gates[0] * (state["to_out.weight"] @ torch.cat(heads))
            wide = state["feed_forward.1.weight"] @ layer_norm(y, block.feed_forward[0])
            gelu = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
            wide = wide.clamp(min=0) ** 2 if config.activation == "squared-relu" else gelu
            out[row, token] = y + gates[1] * (state["feed_forward.3.weight"] @ wide)
    return out


@torch.no_grad()
@pytest.mark.parametrize("attend", ["last", "before"])
@pytest.mark.parametrize("config", [FLAMINGO, INFIMM, OPEN], ids=["flamingo", "infimm-hd", "open"])
def test_a_block_is_what_the_papers_say(config: CrossAttention.Config, attend: str) -> None:
    config = config.override(f"attend={attend}")
    block, (hidden, media, batch) = block_of(config), inputs()
    found = block(hidden, Looking(Sight.of(batch, config.attend), media))
    torch.testing.assert_close(found, derived(block, config, hidden, media), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("gates", ["scalar", "vector"])
def test_attention_and_gates_are_those_of_idefics(gates: str) -> None:
    """Idefics is Flamingo with an RMSNorm and a SwiGLU; with ours in their place, its block is ours."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer

    sizes = {"hidden_size": DIM, "num_attention_heads": 2, "intermediate_size": 4 * DIM, "qk_layer_norms": False}
    alphas = {"alpha_type": {"scalar": "float", "vector": "vector"}[gates], "alpha_initializer": "zeros"}
    settings = transformers.IdeficsConfig(**sizes, **alphas, vision_config={"embed_dim": MEDIA}, dropout=0.0)
    settings._attn_implementation = "eager"
    theirs: Any = IdeficsGatedCrossAttentionLayer(settings, layer_idx=0).eval()
    config = FLAMINGO.override(f"head_dim={DIM // 2}", f"gates={gates}", "activation=gelu")
    ours, (hidden, media, batch) = block_of(config), inputs()
    keys, values = ours.to_kv.weight.chunk(2)
    for to, weight in (("q", ours.to_q.weight), ("k", keys), ("v", values), ("o", ours.to_out.weight)):
        getattr(theirs.cross_attn, f"{to}_proj").weight.copy_(weight)
    theirs.alpha_cross_attn.copy_(ours.attention_gate.view_as(theirs.alpha_cross_attn))
    theirs.alpha_dense.copy_(ours.feed_forward_gate.view_as(theirs.alpha_dense))
    theirs.input_layernorm, theirs.post_attention_layernorm = ours.norm, ours.feed_forward[0]
    theirs.mlp = ours.feed_forward[1:]

    row = 1  # one sample with three pictures: Idefics does not pack
    counts = [one[3] for one in STANDING if one[0] == row]
    starts = torch.tensor([one[1] for one in STANDING if one[0] == row])
    last = (torch.arange(TOKENS)[:, None] >= starts).sum(1) - 1
    sees = torch.repeat_interleave(torch.arange(3), torch.tensor(counts)) == last[:, None]
    mask = torch.where(sees, 0.0, torch.finfo(torch.float32).min)[None, None]
    wanted = theirs(
        hidden[row : row + 1],
        image_hidden_states=media[-sum(counts) :][None],
        image_attention_mask=mask,
        cross_attention_gate=sees.any(1)[None].float(),
    )
    found = ours(hidden, Looking(Sight.of(batch, "last"), media))[row : row + 1]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_text_sees_the_last_picture_of_its_own_sample_and_nothing_before_the_first() -> None:
    block, (hidden, media, batch) = block_of(FLAMINGO), inputs()
    nn.init.zeros_(block.feed_forward_gate)
    sight = Sight.of(batch, "last")
    before = block(hidden, Looking(sight, media))
    moved = (before != hidden).any(-1).tolist()
    assert moved[0] == [False] * 2 + [True] * 4 + [False] * 3 + [True] * 3 + [False] * 2
    changed = media.clone()
    changed[:3] += 1  # the first picture of the first sample
    moved = (block(hidden, Looking(sight, changed)) != before).any(-1).tolist()
    assert moved == [[token in (2, 3) for token in range(TOKENS)], [False] * TOKENS]
    all_before = Sight.of(batch, "before")
    before, after = (block(hidden, Looking(all_before, m)) for m in (media, changed))
    assert (before != after).any(-1).tolist() == [[2 <= t < 6 for t in range(TOKENS)], [False] * TOKENS]


@torch.no_grad()
def test_samples_without_pictures_are_left_to_the_bit() -> None:
    block, (hidden, media, batch) = block_of(INFIMM), inputs()
    moved = (block(hidden, Looking(Sight.of(batch, "last"), media)) != hidden).any(-1).tolist()
    assert moved[0] == [True] * 6 + [False] * 3 + [True] * 3 + [False] * 2, "of others, text before a picture, too"
    nothing = Sight.of(batch_of([]), "last")
    assert torch.equal(block(hidden, Looking(nothing, media[:0])), hidden)


def backbone_of(kind: str) -> tuple[str, ...]:
    if kind == "decoder":
        return ("model.backbone.depth=4",)
    pytest.importorskip("transformers")
    return ("model.backbone=hf", "model.backbone.architecture=" + str(LLAMA))


def awake(model: Model) -> Model:
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.fusion.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["decoder", "hf"])
def test_gates_at_zero_leave_the_language_model_to_the_bit(kind: str) -> None:
    model = toy_model(*CROSS, "model.fusion.every=2", *backbone_of(kind)).eval()
    laid = [model.layout(Toy(Toy.Config())[i]) for i in (1, 3, 4)]
    batch = collate([laid[:2], laid[2:]], model.layout)
    assert not batch.media.any()
    embedded = model.backbone.embed(batch.ids)
    plain = model.backbone(embedded, batch.positions, Attention.within(batch.documents))
    assert torch.equal(model(batch), plain)
    assert not torch.equal(awake(model)(batch)[0], plain[0]), "open gates show"
    text = replace(collate([laid[2:]], model.layout), pictures=Pictures(), tiles=batch.tiles[:0])
    alone = model.backbone(model.backbone.embed(text.ids), text.positions, Attention.within(text.documents))
    assert torch.equal(model(text), alone), "text alone is the language model's also with open gates"


@torch.no_grad()
@pytest.mark.parametrize("assignments", [(), ("model.fusion.attend=before", "model.fusion.gates=vector")])
@pytest.mark.parametrize("kind", ["decoder", "hf"])
def test_written_token_by_token_it_is_as_read_at_once(kind: str, assignments: tuple[str, ...]) -> None:
    model = awake(toy_model(*CROSS, "model.fusion.every=2", *backbone_of(kind), *assignments)).eval()
    laid = [model.layout(Toy(Toy.Config())[i]) for i in (0, 4, 3)]  # one picture, none, two
    ends = [len(one) - 4 for one in laid]
    whole = [model(collate([[one]], model.layout))[0] for one in laid]
    begun = [one.first(end, one.spans) for one, end in zip(laid, ends, strict=True)]
    calls = count_calls(model)
    cache, batch = model.backbone.new_cache(), collate([[one] for one in begun], model.layout)
    hidden, state = model.read(batch, cache)
    first = sum(calls)
    seen = batch.documents > 0
    for step in range(4):
        tokens = torch.tensor([[int(one.ids[end + step])] for one, end in zip(laid, ends, strict=True)])
        seen = torch.cat([seen, seen.new_ones(3, 1)], dim=1)
        positions = torch.tensor([[end + step] for end in ends])
        state = model.fusion.next(state)
        with model.fusion.during(state):
            hidden = model.backbone(model.backbone.embed(tokens), positions, Attention(seen[:, None, None]), cache)
        for row, end in enumerate(ends):
            torch.testing.assert_close(hidden[row, 0], whole[row][end + step], rtol=1e-4, atol=1e-4)
    assert first == sum(calls) == 2, "keys and values of each of the two blocks are made once"


def count_calls(model: Model) -> list[int]:
    calls: list[int] = []
    for block in model.fusion.blocks:  # type: ignore[union-attr]
        block.to_kv.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    return calls


LAID = {
    "resampled": ("model.fusion.attend=before", "model.connector.projection=false"),
    "raw, with codes of tiles": ("model.fusion.gates=vector", "model.connector=identity", "model.assembly=sinusoidal"),
}


@pytest.mark.parametrize("case", LAID)
def test_invariants_hold_for_the_toy_recipe(case: str) -> None:
    recipe = toy_recipe(*CROSS, *LAID[case])
    found = list(run_checks(recipe, ["token-count", "leak", "no-images", "gradients", "cached-generation"], samples=12))
    assert [str(verdict) for verdict in found if not verdict.passed] == []


def test_a_stage_may_cut_pictures_in_its_own_way() -> None:
    recipe = toy_recipe(*CROSS, "stages.0.tiling=whole")
    layout = toy_model(*CROSS).layout
    wide = Toy(Toy.Config())[1]
    tiles = [reading(recipe, stage, layout).layout(wide).tiles for stage in (0, 1)]
    assert tiles == [1, layout(wide).tiles]
    assert tiles[1] > 1
    with pytest.raises(ConfigError, match=r"stages.1.tiling cuts up to 10 tiles and model.tiling 5"):
        toy_recipe("stages.1.tiling=grid", "stages.1.tiling.max_rows=3", "stages.1.tiling.max_columns=3")


def test_text_alone_is_read_of_any_source() -> None:
    source = TextOnly.Config(source=Toy.Config()).build()
    assert len(source) == 60
    assert [type(segment) for segment in source[3].segments] == [sm.Text] * 4
    assert source[3].segments[-1].supervise
    with pytest.raises(DataError, match=r"things/0: has no text"):
        TextOnly.Config(source=Mute.Config()).build()[0]


def test_what_stands_before_a_picture_is_not_learned() -> None:
    page = AfterPictures.Config(source=Page.Config()).build()[0]
    assert [segment.supervise for segment in page.segments] == [False, False, True, False, True]
    assert AfterPictures.Config(source=Toy.Config()).build()[4] == Toy(Toy.Config())[4], "there is no picture"


class Page(Source, name="page"):
    """Text, a picture, text, a picture, text."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> sm.Sample:
        text, picture = sm.Text("a", role="document", supervise=True), Toy(Toy.Config())[0].images[0]
        return sm.Sample((text, replace(picture, role="document"), text, replace(picture, role="document"), text))


class Mute(Source, name="mute"):
    """A picture and nothing else."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> sm.Sample:
        return sm.Sample((sm.Image(Toy(Toy.Config())[0].images[0].source),), id="0", source="things")


def test_a_picture_is_one_token_of_text() -> None:
    model = toy_model(*CROSS, "model.template.image=<picture>", "model.template.end_of_chunk=<|eoc|>")
    laid = model.layout(sm.Sample((sm.Text("a"), sm.Image(Toy(Toy.Config())[0].images[0].source), sm.Text("b"))))
    ids = laid.ids.tolist()
    assert ids.count(model.tokenizer.id_of("<picture>")) == 1
    assert laid.spans[0].length == 1
    assert laid.spans[0].features == 4 * laid.tiles
    assert not laid.media.any()
    plain = toy_model("model.template.image=<picture>")
    assert plain.tokenizer.vocab_size == model.tokenizer.vocab_size - 1, "appended where it is written, and only there"
    with pytest.raises(LayoutError, match="placeholder"):
        model.layout(sm.Sample((sm.Text("<picture>"),)))


def test_errors_name_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"every is 3 and the backbone has 2 layers"):
        toy_model(*CROSS, "model.fusion.every=3")
    with pytest.raises(ConfigError, match=r"'identity': features have width 16, the fusion takes 32"):
        toy_model("model.connector=identity")
    with pytest.raises(ConfigError, match=r"'perceiver': features have width 16, the fusion takes 20"):
        toy_model(*CROSS, "model.connector.projection=false", "model.fusion.media_width=20")
    model = toy_model(*CROSS)
    batch = collate([[model.layout(Toy(Toy.Config())[0])]], model.layout)
    with pytest.raises(LayoutError, match=r"4 features laid out but 3 made in toy/0"):
        model.fusion.open(torch.zeros(3, 16), batch)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in module.named_parameters()}


def test_shapes_are_those_of_the_released_weights() -> None:
    """Section 13 of the specification: OpenFlamingo-3B (width 2048) and InfiMM-HD."""
    with torch.device("meta"):
        shapes = shapes_of(GatedBlock(CrossAttention.Config(), 2048, 1024))
        assert shapes["to_q.weight"] == (512, 2048)
        assert shapes["to_kv.weight"] == (1024, 1024)
        assert shapes["to_out.weight"] == (2048, 512)
        assert shapes["attention_gate"] == shapes["feed_forward_gate"] == (1,)
        assert shapes["feed_forward.1.weight"] == shapes["feed_forward.3.weight"][::-1] == (8192, 2048)
        shapes = shapes_of(GatedBlock(CrossAttention.Config(num_heads=12, ff_ratio=1, gates="vector"), 5120, 1792))
        assert shapes["to_q.weight"] == (768, 5120)
        assert shapes["to_kv.weight"] == (1536, 1792)
        assert shapes["to_out.weight"] == (5120, 768)
        assert shapes["attention_gate"] == shapes["feed_forward_gate"] == (5120,)
        assert shapes["feed_forward.1.weight"] == (5120, 5120)
        resampler = Perceiver.Config(depth=6, projection=False).build(in_dim=1024, out_dim=1024, grid=(16, 16))
        assert resampler.latents.shape == (64, 1024)
        assert not dict(resampler.projection.named_parameters())


@torch.no_grad()
def test_resampler_tells_the_frames_of_a_video_by_time() -> None:
    sizes = {"latents": 3, "depth": 1, "num_heads": 2, "head_dim": 4, "projection": False}
    make = {"in_dim": 8, "out_dim": 8, "grid": (2, 2)}
    timed = Perceiver.Config(**sizes, time_embeddings=3, activation="squared-relu").build(**make)
    plain = Perceiver.Config(**sizes, activation="squared-relu").build(**make)
    plain.load_state_dict({key: value for key, value in timed.state_dict().items() if key != "times"})
    video, times = torch.randn(2, 3, 4, 8), timed.times
    torch.testing.assert_close(timed(video), plain((video + times[None, :, 0, None]).flatten(1, 2)))
    torch.testing.assert_close(timed(video[:, 0]), plain(video[:, 0] + times[0]), msg="a picture is one frame")
    longer = torch.randn(1, 5, 4, 8)
    between = torch.stack([times[0], (times[0] + times[1]) / 2, times[1], (times[1] + times[2]) / 2, times[2]])
    torch.testing.assert_close(timed(longer), plain((longer + between[None, :, 0, None]).flatten(1, 2)))


def test_the_code_of_a_tile_tells_its_row_and_column() -> None:
    dim = 8
    codes = tile_codes(TilePlan(2, 3, thumbnail=True), dim)
    assert codes.shape == (7, dim)
    assert not codes[0].any(), "the whole picture has no code"
    for number, (row, column) in enumerate([(r, c) for r in range(2) for c in range(3)], 1):
        for i in range(dim // 4):
            angle = [place / 10_000 ** (4 * i / dim) for place in (row, column)]
            assert codes[number, 2 * i].item() == pytest.approx(math.sin(angle[0]), abs=1e-6)
            assert codes[number, 2 * i + 1].item() == pytest.approx(math.cos(angle[0]), abs=1e-6)
            assert codes[number, dim // 2 + 2 * i].item() == pytest.approx(math.sin(angle[1]), abs=1e-6)
            assert codes[number, dim // 2 + 2 * i + 1].item() == pytest.approx(math.cos(angle[1]), abs=1e-6)
    assert not tile_codes(TilePlan(), dim).any()
    with pytest.raises(ConfigError, match="width 10"):
        Sinusoidal.Config().build(dim=10, max_tiles=5, grid=(4, 4), tile=TileTokens(16, (4, 4)))
