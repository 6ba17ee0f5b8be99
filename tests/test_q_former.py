"""The Q-Former against transformers' BLIP-2, and its three masks against what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import Toy, toy_model, toy_recipe

from sensorium.connectors.connector import Connector
from sensorium.connectors.q_former import QFormer
from sensorium.data.batch import collate
from sensorium.edits.reconfigure import Reconfigure
from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError, DataError
from sensorium.families.q_former import q_former_config, q_former_rules
from sensorium.families.rules import Left, Rule, Table, prefixes
from sensorium.objectives.objective import Objective, StepObjective
from sensorium.objectives.paired import alike, drawn, embedded, paired, texts
from sensorium.training.spanning import Spanning

VISION, WIDTH, VOCAB, READS = 32, 24, 49, 7
SIZES: dict[str, Any] = {
    "vision_config": {"hidden_size": VISION, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                      "image_size": 16, "patch_size": 8},
    "qformer_config": {"vocab_size": VOCAB + 1, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "intermediate_size": 48, "encoder_hidden_size": VISION, "max_position_embeddings": 20},
    "text_config": {"model_type": "opt", "vocab_size": 60, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32,
                    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64},
    "num_query_tokens": 4, "image_text_hidden_size": 12,
}  # fmt: skip
TEXT = (
    *(Rule(f"qformer.encoder.layer.{{}}.{a}.{{}}", f"connector.text.feed_forwards.{{}}.{b}.{{}}")
      for a, b in {"intermediate.dense": "up", "output.dense": "down", "output.LayerNorm": "norm"}.items()),
    *prefixes({"embeddings.word_embeddings.": "connector.text.embedding.",
               "embeddings.position_embeddings.": "connector.text.positions.",
               "vision_projection.": "connector.text.picture_projection.",
               "text_projection.": "connector.text.text_projection.", "itm_head.": "connector.text.match."}),
)  # fmt: skip
"""The text side, which our Q-Former shares with the language model's tokenizer, and that of BLIP-2 with BERT's."""
IDS = torch.tensor([[3, 11, 5, 8], [20, 4, -1, -1]])


def theirs(kind: str, text: bool) -> tuple[Any, dict[str, Any]]:
    """A model of transformers with random weights, biases and norms too, and its config as plain data."""
    transformers = pytest.importorskip("transformers")
    inner = {**SIZES["qformer_config"], "use_qformer_text_input": text}
    config = transformers.Blip2Config(**{**SIZES, "qformer_config": inner})
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model, {**SIZES, "qformer_config": inner}


def ours(model: Any, architecture: dict[str, Any], out_dim: int) -> QFormer:
    text = architecture["qformer_config"]["use_qformer_text_input"]
    part = Connector.Config.model_validate({**q_former_config(architecture), "text": text}).build(
        in_dim=VISION, out_dim=out_dim, grid=(2, 2)
    )
    part.attach(VOCAB)
    elsewhere = tuple(Left(key, "elsewhere") for key in ("vision_model.{}", "language_model.{}"))
    table = Table((*q_former_rules(), *TEXT), elsewhere)
    named = table.sort(model.state_dict(), "BLIP-2").tensors
    state = {name.removeprefix("connector."): tensor for name, tensor in named.items()}
    if text:  # the marks that open a text to be read and to be written are the last two with us
        words = state["text.embedding.weight"]
        state["text.embedding.weight"] = torch.cat([words[:VOCAB], words[[READS, VOCAB]]])
    missing, surplus = part.load_state_dict(state, strict=False)
    assert not surplus
    lm = {
        "text.bias",
        "text.temperature",
        *(f"text.transform{n}.{k}" for n in ("", "_norm") for k in ("weight", "bias")),
    }
    assert set(missing) <= lm | {"projection.weight", "projection.bias"}, "what transformers has is all there"
    return part.eval()


def features(model: Any) -> tuple[Tensor, Tensor]:
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return pixels, model.vision_model(pixel_values=pixels).last_hidden_state


@torch.no_grad()
def test_queries_give_what_those_of_transformers_give() -> None:
    model, architecture = theirs("Blip2ForConditionalGeneration", text=False)
    _, seen = features(model)
    wanted = model.language_projection(
        model.qformer(query_embeds=model.query_tokens.expand(2, -1, -1), encoder_hidden_states=seen)[0]
    )
    found = ours(model, architecture, out_dim=16)(seen)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_matching_and_likeness_are_those_of_transformers() -> None:
    model, architecture = theirs("Blip2ForImageTextRetrieval", text=True)
    pixels, seen = features(model)
    part = ours(model, architecture, out_dim=16)
    real = F.pad(IDS >= 0, (1, 0), value=True).long()
    given = {"pixel_values": pixels, "attention_mask": real,
             "input_ids": F.pad(IDS.clamp(min=0), (1, 0), value=READS)}  # fmt: skip
    wanted = model(**given, use_image_text_matching_head=True).logits_per_image
    torch.testing.assert_close(part.match(seen, IDS), wanted, rtol=1e-4, atol=1e-4)
    wanted = model(**given, use_image_text_matching_head=False).logits_per_image
    words = part.words
    pictures = F.normalize(words.picture_projection(part.look(seen).hidden), dim=-1)
    texts = F.normalize(words.text_projection(part.read(IDS)), dim=-1)
    torch.testing.assert_close(torch.einsum("nqd,md->nmq", pictures, texts).amax(-1), wanted, rtol=1e-4, atol=1e-4)


@pytest.fixture
def part() -> QFormer:
    torch.manual_seed(0)
    config = QFormer.Config(queries=4, width=16, num_heads=2, depth=4, text=True, positions=9, joint_dim=8)
    made: QFormer = config.build(in_dim=6, out_dim=10, grid=(2, 2))
    made.attach(VOCAB)
    return made.double().eval()


def test_the_feed_forwards_of_queries_begin_as_those_of_words(part: QFormer) -> None:
    for layer, words in zip(part.layers, part.words.feed_forwards, strict=True):
        for one, other in zip(layer.feed_forward.parameters(), words.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one is not other
    assert [layer.looking is not None for layer in part.layers] == [True, False, True, False]


@torch.no_grad()
def test_writing_is_one_pass_in_which_queries_see_no_text_and_words_what_is_before(part: QFormer) -> None:
    """The two passes, of which the second reads keys and values of the first, against a single one under the mask of
    the paper's figure 2, written out token by token."""
    seen, ids, count = torch.randn(2, 4, 6, dtype=torch.float64), IDS.clamp(min=0), 4
    looked = part.look(seen)
    words, _ = part.words.embed(ids[:, :-1], 1)
    hidden = part.norm(torch.cat([part.queries.expand(2, -1, -1), words], dim=1))
    mask = torch.zeros(4 + count, 4 + count, dtype=torch.bool)
    for row in range(4 + count):
        for column in range(4 + count):
            mask[row, column] = column < 4 or 4 <= column <= row
    for layer, feed in zip(part.layers, part.words.feed_forwards, strict=True):
        hidden, _ = layer(hidden, 4, seen, feed, mask[None, None], None)
    torch.testing.assert_close(looked.hidden, hidden[:, :4])
    torch.testing.assert_close(part.write(looked.memory, ids), hidden[:, 4:])


@torch.no_grad()
def test_who_sees_whom(part: QFormer) -> None:
    seen, other = torch.randn(2, 2, 4, 6, dtype=torch.float64)
    ids, looked = IDS[:1], part.look(seen[:1])
    for place in range(4):
        changed = ids.clone()
        changed[0, place] = 30
        before, after = part.write(looked.memory, ids), part.write(looked.memory, changed)
        assert [bool((b != a).any()) for b, a in zip(before[0], after[0], strict=True)] == [n > place for n in range(4)]
        assert not torch.equal(part.match(seen[:1], ids), part.match(seen[:1], changed)), "matching sees all"
        assert not torch.equal(part.read(ids), part.read(changed))
    one, two = part.write(looked.memory, ids), part.write(part.look(other[:1]).memory, ids)
    assert (one != two).any(-1).all(), "every word sees the queries"
    longer = F.pad(IDS[1:], (0, 3), value=-1)
    torch.testing.assert_close(part.read(IDS[1:]), part.read(longer))
    torch.testing.assert_close(part.match(seen[1:], IDS[1:]), part.match(seen[1:], longer))


def test_texts_that_are_too_long_and_connectors_that_read_none(part: QFormer) -> None:
    with pytest.raises(ConfigError, match="texts of 10 tokens with their mark, and 9 positions"):
        part.read(torch.zeros(1, 9, dtype=torch.int64))
    silent = QFormer.Config.example().build(in_dim=6, out_dim=10, grid=(2, 2))
    silent.attach(VOCAB)
    assert silent.text is None
    with pytest.raises(ConfigError, match=r"set model.connector.text=true"):
        silent.read(IDS)


@torch.no_grad()
def test_the_vision_model_in_a_folder_of_blip_2_is_an_encoder(tmp_path: Path) -> None:
    model, _ = theirs("Blip2ForConditionalGeneration", text=False)
    model.save_pretrained(tmp_path)
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config: Any = Encoder.Config.model_validate(
        {"type": "hf-vision", "path": str(tmp_path), "drop_class_token": False, **half}
    ).resolved()
    part = config.build()
    config.load_pretrained(part)
    tiles = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    wanted = model.vision_model(pixel_values=tiles / 127.5 - 1).last_hidden_state
    assert wanted.shape == (2, config.tokens, config.dim)
    torch.testing.assert_close(part.eval()(tiles), wanted, rtol=1e-4, atol=1e-4)


def test_size_is_that_of_the_paper() -> None:
    """About 188 M parameters (section 3.1), with BERT's vocabulary."""
    with torch.device("meta"):
        config = QFormer.Config(width=768, depth=12, num_heads=12, text=True)
        part = config.build(in_dim=1408, out_dim=2560, grid=(16, 16))
        part.attach(30522)
    count = sum(weight.numel() for weight in part.parameters())
    assert count / 188e6 == pytest.approx(1, abs=0.01)


# objectives


READING = (
    "model.connector={type: q-former, queries: 4, width: 16, num_heads: 2, text: true, positions: 40, joint_dim: 8}",
    "model.tiling=whole",
)
NAMES = ("image-text-contrastive", "image-text-matching", "image-grounded-text", "blip2-stage-1")


def objective(name: str, **settings: Any) -> Any:
    return Objective.Config.model_validate({"type": name, **settings}).build()


@pytest.fixture
def model() -> Any:
    made = toy_model(*READING).double().eval()
    with torch.no_grad():
        for weight in made.connector.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return made


def batches(model: Any, rows: list[list[int]]) -> Any:
    toy = Toy(Toy.Config())
    return collate([[model.layout(toy[i]) for i in row] for row in rows], model.layout)


def test_the_texts_of_pairs_are_what_is_supervised(model: Any) -> None:
    batch = batches(model, [[0, 4, 1], [2]])
    found, encode = texts(batch, 60), model.tokenizer.encode
    end = model.tokenizer.id_of("<|end|>")
    toy = Toy(Toy.Config())
    wanted = [
        [token for s in toy[i].segments if getattr(s, "supervise", False) for token in (*encode(s.text), end)]
        for i in (0, 1, 2)
    ]
    assert [[token for token in row if token >= 0] for row in found.tolist()] == wanted
    assert texts(batch, 2).tolist() == [row[:2] for row in wanted]


def test_contrast_is_cross_entropy_of_the_query_most_alike(model: Any) -> None:
    dice = torch.Generator().manual_seed(0)
    pictures = F.normalize(torch.randn(5, 3, 8, generator=dice, dtype=torch.float64), dim=-1)
    said = F.normalize(torch.randn(5, 8, generator=dice, dtype=torch.float64), dim=-1)
    with torch.no_grad():
        model.connector.words.temperature.fill_(0.07)
    found = objective("image-text-contrastive").compare(model, (pictures, said, torch.arange(5)), 5)
    logits = torch.tensor([[max(float(q @ t) for q in picture) for t in said] for picture in pictures]) / 0.07
    one, other = (F.cross_entropy(x, torch.arange(5), label_smoothing=0.1, reduction="sum") for x in (logits, logits.T))
    assert found.item() == pytest.approx(float(one + other) / 2, rel=1e-5)
    keys = torch.tensor([7, 8, 7, 9, 5])
    found = objective("image-text-contrastive", same_texts=True, smoothing=0).compare(model, (pictures, said, keys), 5)
    logits[0, 2] = logits[2, 0] = -torch.inf
    one, other = (F.cross_entropy(x, torch.arange(5), reduction="sum") for x in (logits, logits.T))
    assert found.item() == pytest.approx(float(one + other) / 2, rel=1e-5)


def test_matching_asks_three_questions_of_each_pair(model: Any) -> None:
    asked: list[tuple[Tensor, Tensor]] = []
    part, batch = objective("image-text-matching"), batches(model, [[0, 1], [2, 7]])
    read = part.read(model, batch)
    features, ids = read.compared[3:]
    match = model.connector.match
    model.connector.match = lambda *given: asked.append(given) or match(*given)
    part.compare(model, read.compared, 4)
    (pictures, said), count = asked[0], len(ids)
    assert len(said) == 3 * count == 12
    which = [[next(i for i in range(count) if torch.equal(x, y[i])) for x in all_] for all_, y in
             ((pictures, features), (said, ids))]  # fmt: skip
    own = list(range(count))
    assert which[0][:count] == which[1][:count] == own
    assert which[1][count : 2 * count] == which[0][2 * count :] == own
    assert all(a != b for a, b in zip(which[0][count:], which[1][count:], strict=True)), "no negative is the pair"


def test_negatives_are_drawn_by_likeness() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 9.0]]).expand(4000, -1)
    barred = torch.tensor([False, False, False, True]).expand(4000, -1)
    place, free = drawn(logits, barred, torch.rand(4000, generator=torch.Generator().manual_seed(0)).double())
    share = torch.bincount(place, minlength=4) / 4000
    torch.testing.assert_close(share, F.pad(torch.tensor([0.0, 1.0, 2.0]).softmax(0), (0, 1)), atol=0.02, rtol=0)
    assert free.all()
    place, free = drawn(logits[:1], torch.ones(1, 4, dtype=torch.bool), torch.rand(1).double())
    assert not free.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_may_be_divided(name: str, model: Any) -> None:
    part, rows, found = objective(name), [[0, 1], [2, 6], [7, 5, 4], [10]], []
    for size in (4, 2, 1):
        model.zero_grad()
        torch.manual_seed(3)
        split = [batches(model, rows[i : i + size]) for i in range(0, 4, size)]
        count = sum(part.count(batch) for batch in split)
        if isinstance(part, StepObjective):
            torch.rand(size)  # what else was drawn does not matter
            loss = Spanning(part, model, list(model.parameters()), torch.enable_grad).backward(split, count)
        else:
            losses = [part(model, batch).total for batch in split]
            sum(losses).div(count).backward()
            loss = sum(losses).item()
        found.append((loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    for loss, grads in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-9)
        torch.testing.assert_close(grads, found[0][1], rtol=1e-7, atol=1e-10)


def test_three_losses_are_added_as_means(model: Any) -> None:
    batch = batches(model, [[0, 1], [2, 6, 7]])
    torch.manual_seed(0)
    means = []
    for name in NAMES:
        total, count = objective(name)(model, batch)
        means.append(float(total) / count)
    assert means[3] == pytest.approx(sum(means[:3]), rel=1e-6)


def test_what_cannot_be_taught_says_so(model: Any) -> None:
    with pytest.raises(DataError, match="one picture of one tile with a text; set tiling to whole"):
        objective("blip2-stage-1")(model, batches(model, [[0, 3]]))
    with pytest.raises(ConfigError, match=r"wants a connector that reads text: set model.connector to q-former"):
        toy_recipe("stages.0.objective=blip2-stage-1")


@torch.no_grad()
def test_a_later_stage_drops_the_text(model: Any) -> None:
    model, laid = model.float(), batches(model, [[0, 1]])
    before, size = model(laid), sum(p.numel() for p in model.connector.parameters())
    Reconfigure.Config(changes=("connector.text=false",)).build()(model, iter(()), lambda name: model)
    assert torch.equal(model.eval()(laid), before)
    assert sum(p.numel() for p in model.connector.parameters()) < size
    assert model.connector.text is None


def test_regions_teach_the_way_of_features_and_leave_queries_alone() -> None:
    connector = QFormer(QFormer.Config(queries=4, width=WIDTH, num_heads=2), VISION, WIDTH, (3, 3))
    tokens = connector.located(torch.randn(2, 9, VISION)).tokens
    assert tokens.shape == (2, 3, 3, WIDTH)
    tokens.square().mean().backward()
    taught = {name for name, weight in connector.named_parameters() if weight.grad is not None and weight.grad.any()}
    parts = ("layers.0.looking.kv", "layers.0.looking.out", "layers.0.looking.norm", "projection")
    assert taught == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}


def test_pictures_find_their_texts_after_a_while() -> None:
    model = toy_model(*READING)
    batch = batches(model, [[0, 1, 2, 7]])
    part, optimiser = objective("blip2-stage-1"), torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(70):
        total, count = part(model, batch)
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
    features, ids, _ = paired(model, batch, 32)
    likeness = alike(*embedded(model, model.connector.look(features), ids))
    assert likeness.argmax(0).tolist() == likeness.argmax(1).tolist() == [0, 1, 2, 3]
