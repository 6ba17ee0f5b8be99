"""Each method of curation against a hand calculation, brute force, or noise that is known."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from toy import Toy, png, toy_model

import sensorium as sm
from sensorium.config import find_part
from sensorium.curation.clusters import Clusters
from sensorium.curation.columns import read_table
from sensorium.curation.graph import bits, components, hamming_pairs
from sensorium.curation.pairs import text_of
from sensorium.curation.run import score
from sensorium.curation.scorers.capabilities import Capabilities, features_of
from sensorium.curation.scorers.consistency import agreed
from sensorium.curation.scorers.minhash import MinHash
from sensorium.curation.scorers.mlm_filter import CRITERIA, grade
from sensorium.curation.scorers.picture_hash import dhash, thumbnail
from sensorium.curation.scorers.text_quality import measure
from sensorium.curation.selectors.bunny_coreset import BunnyCoreset, middles, window
from sensorium.curation.selectors.mmssr import MMSSR, spread
from sensorium.curation.selectors.semdedup import SemDeDup, before
from sensorium.curation.table import Column, Table
from sensorium.curation.words import grams
from sensorium.data.source import Source
from sensorium.data.sources.caption_mix import CaptionMix
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.sources.noisy import Noisy
from sensorium.errors import ConfigError, DataError
from sensorium.sample import Sample

WORLD = FactorWorld.Config(style="short", scenes=400)
NOISY = Noisy.Config(source=WORLD)


def select(name: str, table: Table, count: int | None = None, **config: Any) -> list[int]:
    return find_part("selector", name).from_dict(config).build().select(table, count).tolist()


def scored(source: Source.Config, scorer: str, out: Path, **config: Any) -> Table:
    score([source], find_part("scorer", scorer).from_dict(config), out)
    return read_table(out, [source])


def numbers(**columns: Any) -> Table:
    return Table({name: Column.of(values) for name, values in columns.items()})


def units(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def crowded(rows: int) -> np.ndarray:
    """Unit vectors of which every third is nearly its predecessor."""
    vectors = units(rows)
    vectors[1::3] = vectors[::3][: len(vectors[1::3])] + 0.05 * units(len(vectors[1::3]), seed=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# --- by bounds ---


def test_top_threshold_chain_and_union() -> None:
    table = numbers(a=[3.0, 1.0, math.nan, 3.0, 2.0], b=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert select("top", table, 2, column="a") == [0, 3]
    assert select("top", table, 9, column="a") == [0, 1, 3, 4]
    assert select("threshold", table, column="a", least=2) == [0, 3, 4]
    low = {"type": "threshold", "column": "b", "most": 3}
    assert select("chain", table, 1, steps=[low, {"type": "top", "column": "b"}]) == [3]
    assert select("union", table, 1, of=[{"type": "top", "column": "a"}, {"type": "top", "column": "b"}]) == [0, 4]
    for name, count in (("top", None), ("threshold", 3)):
        with pytest.raises(ConfigError, match=r"share"):
            select(name, table, count, column="a", **({"least": 0} if count else {}))


# --- duplicates ---


@pytest.mark.parametrize("distance", [0, 3, 4, 9, 13])
def test_near_hashes_are_those_of_brute_force(distance: int) -> None:
    dice = np.random.default_rng(distance)
    base = dice.integers(0, 2**64, 60, dtype=np.uint64)
    flips = [sum(1 << int(b) for b in dice.choice(64, dice.integers(0, 15), replace=False)) for _ in range(240)]
    hashes = np.concatenate([base, np.tile(base, 4) ^ np.array(flips, np.uint64), np.zeros(20, np.uint64)])
    near = bits(hashes[:, None].repeat(len(hashes), 1).ravel() ^ np.tile(hashes, len(hashes))) <= distance
    first, second = np.nonzero(np.triu(near.reshape(len(hashes), -1), 1))
    brute = {(int(i), int(j)) for i, j in zip(first, second, strict=True)}
    found = {(int(i), int(j)) for i, j in hamming_pairs(hashes, distance)}
    assert found <= brute
    leader = {int(h): int(i) for i, h in reversed(list(enumerate(hashes)))}
    between = {(i, j) for i, j in brute if leader[int(hashes[i])] == i and leader[int(hashes[j])] == j}
    assert between <= found
    assert np.array_equal(components(len(hashes), np.array(sorted(brute)).reshape(-1, 2)),
                          components(len(hashes), np.array(sorted(found)).reshape(-1, 2)))  # fmt: skip
    assert sum(bin(int(x)).count("1") for x in hashes) == bits(hashes).sum()


def test_components_are_named_by_their_smallest() -> None:
    assert components(6, np.array([[4, 1], [1, 5], [3, 2]])).tolist() == [0, 1, 2, 2, 1, 1]
    assert components(2, np.empty((0, 2), np.int64)).tolist() == [0, 1]


def test_dhash_by_hand() -> None:
    rising = PILImage.fromarray(np.tile(np.arange(0, 180, 20, dtype=np.uint8), (8, 1)))
    assert dhash(rising.convert("RGB")) == 2**64 - 1
    half = np.tile(np.array([0, 9, 8, 7, 6, 5, 4, 3, 2], np.uint8), (8, 1))
    assert dhash(PILImage.fromarray(half).convert("RGB")) == int("80" * 8, 16)
    assert not thumbnail(PILImage.new("RGB", (30, 20), "red")).any()


def test_known_duplicates_are_found(tmp_path: Path) -> None:
    table, source = scored(NOISY, "picture-hash", tmp_path), NOISY.build()
    pairs = [(i, source[i].meta["of"]) for i in range(400) if source.noise(i) == "near-duplicate"]
    for selector in ({"name": "unique-pictures"}, {"name": "semdedup", "column": "picture-hash.thumbnail",
                                                   "epsilon": 0.1, "clusters": 4}):  # fmt: skip
        removed = set(range(400)) - set(select(table=table, **selector))
        related = {i for pair in pairs for i in pair}
        assert len(removed & related) >= 0.95 * len(removed)
        assert sum(bool(removed & set(pair)) for pair in pairs) >= 0.6 * len(pairs)


def test_pictures_of_one_colour_go_by_their_hash_and_unreadable_ones_stay(tmp_path: Path) -> None:
    source = Toy.Config(samples=60, broken=(7,))
    kept = select("unique-pictures", scored(source, "picture-hash", tmp_path))
    without_hash = [i for i in range(60) if i % 5 > 2 or i == 7]
    assert kept == sorted({0, *without_hash})


def test_minhash_estimates_jaccard() -> None:
    scorer = MinHash(MinHash.Config(gram=1, permutations=512), Path())
    words = [f"w{i}" for i in range(120)]
    for shared in (0, 30, 75, 100):
        first, second = words[:100], words[100 - shared : 200 - shared]
        both = [scorer.read(sm.caption(b"", " ".join(text))) for text in (first, second)]
        jaccard = len(set(first) & set(second)) / len(set(first) | set(second))
        (one,), (other,) = scorer.score(both)
        assert abs((one == other).mean() - jaccard) <= 4 * math.sqrt(jaccard * (1 - jaccard) / 512)


class Said(Source, name="said"):
    """Given texts under pictures of one colour."""

    class Config(Source.Config):
        texts: tuple[str, ...] = ("nothing",)

    def __len__(self) -> int:
        return len(self.config.texts)

    def __getitem__(self, index: int) -> Sample:
        picture = png("red", (16, 16))
        return sm.caption(picture, self.config.texts[index], id=str(index), source="said")


LONG = "the quick brown fox jumps over the lazy dog while seven other foxes watch from the edge of a wide green field"


def test_texts_that_say_nearly_the_same(tmp_path: Path) -> None:
    texts = (LONG, "something else", LONG.upper() + "!", LONG + " today", "something else", "...")
    table = scored(Said.Config(texts=texts), "minhash", tmp_path)
    assert select("unique-texts", table, similarity=0.6) == [0, 1, 5]
    assert select("unique-texts", table, similarity=1.0) == [0, 1, 3, 5]


# --- contamination ---


def test_contamination_says_what_and_where(tmp_path: Path) -> None:
    words = LONG.split()
    texts = ("wholly other words that nobody has used before now", " ".join(words[4:16]) + " and new words at the end")
    exam = {"type": "said", "texts": [LONG, "short"]}
    table = scored(Said.Config(texts=texts), "contamination", tmp_path, against=[exam], gram=5)
    evaluation = set(grams(words, 5))
    expected = [sum(run in evaluation for run in grams(text.split(), 5)) / len(list(grams(text.split(), 5)))
                for text in texts]  # fmt: skip
    assert table["contamination.overlap"].values.tolist() == expected
    assert 0 == expected[0] < expected[1]
    assert table["contamination.text_in"].values.tolist() == ["", "said/0"]
    assert table["contamination.distance"].values.tolist() == [0, 0]


def test_contamination_by_pictures_of_the_exam(tmp_path: Path) -> None:
    exam = {"type": "factorworld", "scenes": 40, "style": "chat"}
    table = scored(WORLD.override("scenes=60"), "contamination", tmp_path, against=[exam])
    assert (table["contamination.distance"].values[:40] == 0).all()
    assert (table["contamination.distance"].values[40:] > 0).all()
    assert table["contamination.picture_in"].values[7] == "factorworld/train-0-7"
    assert select("threshold", table, column="contamination.distance", least=1) == list(range(40, 60))


# --- by embeddings ---


def slow_semdedup(vectors: np.ndarray, clusters: Clusters, epsilon: float, farthest: bool) -> list[int]:
    """SemDeDup as its pseudo-code says it, sample by sample."""
    kept = []
    for number in np.unique(clusters.labels):
        members = [i for i in range(len(vectors)) if clusters.labels[i] == number]
        members.sort(key=lambda i: clusters.cosines[i], reverse=not farthest)
        for place, i in enumerate(members):
            if all(vectors[i] @ vectors[j] <= 1 - epsilon for j in members[:place]):
                kept.append(i)
    return sorted(kept)


@pytest.mark.parametrize("keep", ["farthest", "nearest"])
def test_semdedup_is_its_pseudo_code(keep: Any) -> None:
    vectors = crowded(90)
    config = SemDeDup.Config.from_dict({"column": "v", "epsilon": 0.1, "keep": keep, "clusters": 5})
    table = numbers(v=3 * vectors)
    kept = config.build().select(table).tolist()
    assert kept == slow_semdedup(vectors, config.cluster(vectors), 0.1, keep == "farthest")
    assert 40 < len(kept) < 75
    assert config.build().select(table, len(kept)).tolist() == kept
    fewer = config.build().select(table, 30).tolist()
    assert len(fewer) == 30
    assert set(fewer) <= set(kept)


def test_similarity_to_what_came_before_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = units(23)
    expected = [max((float(vectors[i] @ vectors[j]) for j in range(i)), default=-math.inf) for i in range(23)]
    for block in (4, 23, 50):
        monkeypatch.setattr("sensorium.curation.selectors.semdedup.BLOCK", block)
        assert before(vectors) == pytest.approx(expected)


def test_bunny_keeps_the_middle_of_each_component() -> None:
    angles = np.radians([0, 10, 20, 35, 90, 100, 180.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centre = np.array([1.0, 0.0])
    clusters = Clusters(np.zeros(7, int), vectors @ centre)
    # cosine > 0.86 is an angle below 30.7 degrees: {0, 1, 2, 3}, {4, 5}, {6}; ranks 2, 1, 0 are in the middle
    assert sorted(middles(vectors, clusters, 0.86).tolist()) == [2, 5, 6]
    assert window(np.array([5, 6, 7, 8, 9]), np.arange(10.0), (0.2, 0.6)).tolist() == [8, 7]


def test_bunny_s_windows_by_hand() -> None:
    vectors = units(100, dim=64)
    scores = np.random.default_rng(1).random(100)
    config = BunnyCoreset.Config.from_dict({"column": "v", "score": "s", "edge": 0.99, "clusters": 3})
    table = numbers(v=vectors, s=scores)
    cosines = config.cluster(vectors).cosines
    by_score = sorted(range(100), key=lambda i: -scores[i])[40:60]
    by_centroid = sorted(by_score, key=lambda i: -cosines[i])[3:7]
    assert config.build().select(table).tolist() == sorted(by_centroid)
    assert set(config.build().select(table, 2).tolist()) < set(by_centroid)


# --- mmssr ---


def test_mmssr_s_debt() -> None:
    styles = [["a"]] + [["b"]] * 20 + [["c"]] * 20
    chosen = spread(list(range(41)), styles, 10)
    assert [len([i for i in chosen if styles[i] == [name]]) for name in "abc"] == [1, 5, 3]
    table = numbers(s=np.arange(41.0, 0, -1), style=[one[0] for one in styles])
    whole = select("mmssr", table, 10, capabilities=["s"], style="style")
    assert len(whole) == 10
    assert set(chosen) <= set(whole)


def test_mmssr_gives_the_count_and_nothing_useless_in_any_order() -> None:
    dice = np.random.default_rng(0)
    one, two = dice.permutation(60) - 20.0, dice.permutation(60) - 20.0
    style = np.array([",".join(dice.choice(["x", "y", "z"], dice.integers(1, 3), replace=False)) for _ in range(60)])
    config = MMSSR.Config(capabilities=("one", "two"), style="style")
    chosen = config.build().select(numbers(one=one, two=two, style=style), 25)
    assert len(set(chosen.tolist())) == 25
    assert (np.maximum(one, two)[chosen] > 0).all()
    order = dice.permutation(60)
    moved = config.build().select(numbers(one=one[order], two=two[order], style=style[order]), 25)
    assert sorted(order[moved].tolist()) == chosen.tolist()
    useful = int((np.maximum(one, two) > 0).sum())
    assert len(config.build().select(numbers(one=one, two=two, style=style), 60)) == useful


# --- by models ---


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model().save(folder)
    return folder


def test_likelihood_is_that_of_the_model_s_logits(checkpoint: Path, tmp_path: Path) -> None:
    source = Toy.Config(samples=5, broken=(2,))
    table = scored(source, "likelihood", tmp_path, checkpoint=str(checkpoint), batch=3)
    model = sm.load(checkpoint)
    for index in (0, 1, 3):
        for name, sample in (("seeing", source.build()[index]), ("blind", source.build()[index].blind())):
            laid = model.layout(sample)
            chances = model.logits([sample])[0].log_softmax(-1)
            wanted = [chances[i, laid.ids[i + 1]].item() for i in range(len(laid) - 1) if laid.supervised[i + 1]]
            assert table[f"likelihood.{name}"].values[index] == pytest.approx(np.mean(wanted), abs=1e-4)
    gain = table["likelihood.gain"]
    assert np.allclose(
        gain.values, table["likelihood.seeing"].values - table["likelihood.blind"].values, equal_nan=True
    )
    assert gain.known.tolist() == [True, True, False, True, True]
    assert gain.values[4] == pytest.approx(0, abs=1e-5), "a sample without pictures gains nothing"


def test_other_weights_are_other_columns(checkpoint: Path, tmp_path: Path) -> None:
    changed = sm.load(checkpoint)
    with torch.no_grad():
        next(changed.connector.parameters()).add_(1)
    changed.save(tmp_path / "model")
    config = find_part("scorer", "likelihood").from_dict({"checkpoint": str(tmp_path / "model")})
    (first,) = score([Toy.Config(samples=2)], config, tmp_path / "out")
    sm.load(checkpoint).save(tmp_path / "model")
    (second,) = score([Toy.Config(samples=2)], config, tmp_path / "out")
    assert first.folder != second.folder


def test_features_are_the_encoder_s_mean(checkpoint: Path, tmp_path: Path) -> None:
    table = scored(Toy.Config(samples=3), "picture-features", tmp_path, checkpoint=str(checkpoint))
    model = sm.load(checkpoint)
    picture = PILImage.open(io.BytesIO(png("red", (16, 16))))
    tile = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    expected = model.encoder(tile).mean(1)[0].detach().numpy()
    assert table["picture-features.vector"].values[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("85", 85), ("Score: 72/100", 72), ("I'd say 7.5.", 7.5), ("150, no: 90", 90), ("0\n", 0), ("-3 or 4", 4)],
)
def test_a_grade_is_read(reply: str, expected: float) -> None:
    assert grade(reply) == expected


def test_mlm_filter_asks_four_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_model("model.context=512", "stages.0.length=512", "stages.1.length=512").save(tmp_path / "long")
    asked: list[Sample] = []

    def reply(model: Any, prompts: list[Sample], **options: Any) -> list[str]:
        asked.extend(prompts)
        return [str(10 * i) if i != 2 else "none" for i in range(len(prompts))]

    monkeypatch.setattr("sensorium.curation.scorers.mlm_filter.generate", reply)
    table = scored(Said.Config(texts=("one", "two")), "mlm-filter", tmp_path, checkpoint=str(tmp_path / "long"))
    assert [len(prompt.images) for prompt in asked] == [1] * 8
    assert ["Caption: two" in text_of(prompt) for prompt in asked] == [False] * 4 + [True] * 4
    assert all(criterion in text_of(asked[i]) for i, criterion in enumerate(CRITERIA.values()))
    found = [table[f"mlm-filter.{name}"].values.tolist() for name in CRITERIA]
    assert found[0] == [0, 40]
    assert math.isnan(found[2][0])
    assert found[2][1] == 60


def test_agreement_of_answers() -> None:
    same = np.tile(units(1), (6, 1))
    assert agreed(same) == (0, pytest.approx(1))
    other = np.zeros(8)
    other[0], other[1] = -same[0][1], same[0][0]
    other /= np.linalg.norm(other)
    place, agreement = agreed(np.concatenate([[other], same[:5]]))
    assert (place, agreement) == (1, pytest.approx(5 / 6))


def test_consistency_compares_what_a_model_says(checkpoint: Path, tmp_path: Path) -> None:
    config = {"checkpoint": str(checkpoint), "answers": 3, "temperature": 0.01, "max_tokens": 3}
    agreement = scored(Toy.Config(samples=5), "consistency", tmp_path, **config)["consistency.agreement"]
    assert agreement.known.tolist() == [True, False, True, True, True], "a caption has no question"
    found = agreement.values[agreement.known].round(6).tolist()
    assert set(found) == {0.0, 1.0}, "at this temperature it says the same three times, of which some are no words"


def test_dfn_learns_what_belongs_together(tmp_path: Path) -> None:
    easy = {"type": "factorworld", "style": "short", "objects": [1, 1], "shapes": ["circle", "square"],
            "colours": ["red", "green", "blue", "yellow"], "textures": ["plain"], "backgrounds": ["plain"],
            "size": [16, 16], "scenes": 2000}  # fmt: skip
    pool = Noisy.Config.from_dict({"source": {**easy, "seed": 1, "scenes": 200}, "near_duplicate": 0.0,
                                   "wrong_caption": 0.2, "off_topic": 0.0, "low_information": 0.0})  # fmt: skip
    small = {"type": "vit", "image_size": 16, "patch_size": 4, "width": 16, "depth": 0, "num_heads": 2}
    config = {"clean": easy, "encoder": small, "steps": 60, "pairs": 32, "lr": 5e-3, "dim": 32}
    table = scored(pool, "dfn", tmp_path, **config)
    similarity = table["dfn.similarity"].values
    noise = np.array([pool.build().noise(i) != "" for i in range(200)])
    better = (similarity[~noise][:, None] > similarity[noise]).mean()
    assert better > 0.9, "the area under the ROC curve"
    (log,) = (tmp_path / "fitted").glob("dfn-*/log.json")
    losses = json.loads(log.read_text())
    assert np.mean(losses[-5:]) < losses[0]
    again = scored(pool, "dfn", tmp_path / "again", **config)
    assert np.array_equal(again["dfn.similarity"].values, similarity), "the same seed gives the same filter"


def test_dfn_needs_enough_clean_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 clean pairs are fewer than the 128"):
        scored(WORLD, "dfn", tmp_path, clean={**WORLD.to_dict(), "scenes": 8})


def test_clip_score_is_that_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: i for i, word in enumerate(("<pad>", "<bos>", "<eos>", "<unk>", "red", "green", "picture"))}
    rust = Tokenizer(models.WordLevel(words, "<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=rust, **special)
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**tower, "vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    seeing = {**tower, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=seeing, projection_dim=8)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    texts = ("red picture", "green picture picture", "red " * 20)
    table = scored(Said.Config(texts=texts), "clip-score", tmp_path / "out", path=str(tmp_path / "clip"))
    pixels = torch.from_numpy(np.array(PILImage.open(io.BytesIO(png("red", (16, 16)))))).permute(2, 0, 1)[None]
    for index, said in enumerate(texts):
        encoded = tokenizer(said, return_tensors="pt", truncation=True, max_length=8)
        seen = model(pixel_values=pixels / 127.5 - 1, **encoded)
        expected = torch.cosine_similarity(seen.image_embeds, seen.text_embeds).item()
        assert table["clip-score.similarity"].values[index] == pytest.approx(expected, abs=1e-5)


# --- by words ---


def test_text_quality_by_hand() -> None:
    assert measure("a Red red dog 42") == (5, 16, 14 / 16, 4 / 5)
    assert measure("...") == (0, 3, 0, 0)


def test_empty_texts_are_found(tmp_path: Path) -> None:
    table, source = scored(NOISY, "text-quality", tmp_path), NOISY.build()
    removed = set(range(400)) - set(select("threshold", table, column="text-quality.words", least=4))
    assert removed == {i for i in range(400) if source.noise(i) == "low-information"}


def test_text_features_are_near_for_like_texts(tmp_path: Path) -> None:
    texts = ("a large red circle", "a large red square", "free shipping this weekend")
    vectors = scored(Said.Config(texts=texts), "text-features", tmp_path).vectors("text-features.vector").values
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert vectors[0] @ vectors[1] > 0.4 > vectors[0] @ vectors[2] + 0.2


class Judged(Said, name="judged"):
    """Records with a judge's scores and two captions."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        record = {"score": index / 2, "styles": ["a", "b"], "alt": f"alt {index}", "dense": f"dense {index}"}
        sample.meta["record"] = record if index else {**record, "score": "good"}
        return sample


def test_recorded_scores_become_columns(tmp_path: Path) -> None:
    source = Judged.Config(texts=("x", "y", "z"))
    table = scored(source, "recorded", tmp_path, numbers=["record.score"], texts=["record.styles"])
    assert table["recorded.record.score"].values[1:].tolist() == [0.5, 1.0]
    assert table["recorded.record.styles"].values[1] == "a, b"
    assert table["recorded.record.score"].known.tolist() == [False, True, True]


def test_captions_are_mixed_in_their_ratio() -> None:
    judged = Judged.Config(texts=("x",) * 200)
    mix = CaptionMix.Config(source=judged, captions={"{alt}": 1, "{dense}": 3, "never": 0}, copies=2).build()
    said = [mix[i].segments[-1].text for i in range(400)]
    assert {text.split()[0] for text in said} == {"alt", "dense"}
    assert all(text.split()[1] == str(i % 200) for i, text in enumerate(said))
    assert abs(sum(text.startswith("dense") for text in said) / 400 - 0.75) < 0.065
    assert len({mix[i].id for i in range(400)}) == 400
    assert said[:200] != said[200:], "drawn anew"


# --- capabilities ---


def annotated(samples: int, **changes: Any) -> FactorWorld.Config:
    return FactorWorld.Config(scenes=samples, **changes)


def list_of(config: Source.Config) -> list[Sample]:
    source = config.build()
    return [source[index] for index in range(len(source))]


def test_capabilities_are_scikit_learn_s_ridge(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    few = (annotated(30, seed=1), annotated(30, seed=2, language="de"))
    fields = ("asks.count", "asks.colour")
    table = scored(annotated(20, seed=3), "capabilities", tmp_path, annotated=few, capabilities=fields, style="style",
                   dim=64, ridge=2.0)  # fmt: skip
    samples = [sample for config in few for sample in list_of(config)]
    words, others = features_of(samples, 64)[:, :-1], features_of(list_of(annotated(20, seed=3)), 64)[:, :-1]
    for field in ("count", "colour"):
        known = [sample.meta["asks"][field] for sample in samples]
        expected = linear_model.Ridge(alpha=2.0).fit(words, known).predict(others)
        np.testing.assert_allclose(table[f"capabilities.{field}"].values, expected, atol=1e-8)
    style = linear_model.RidgeClassifier(alpha=2.0).fit(words, [sample.meta["style"] for sample in samples])
    assert table["capabilities.style"].values.tolist() == style.predict(others).tolist()


def test_what_was_annotated_for_a_few_is_known_of_all(tmp_path: Path) -> None:
    few = (annotated(150, seed=1), annotated(150, seed=1, style="short"), annotated(150, seed=1, language="de"))
    config = {"annotated": few, "capabilities": ("asks.count", "asks.size"), "style": "style"}
    samples = list_of(annotated(60, seed=2, language="de"))
    table = scored(annotated(60, seed=2, language="de"), "capabilities", tmp_path, **config)
    assert set(table["capabilities.style"].values) == {"chat-de"}
    asked = [sample.meta["asks"]["size"] for sample in samples]
    assert np.corrcoef(table["capabilities.size"].values, asked)[0, 1] > 0.8


def test_a_sample_without_annotation_is_named(tmp_path: Path) -> None:
    wanted = {"annotated": (Toy.Config(samples=3),), "style": "style"}
    with pytest.raises(DataError, match=r"toy/0: 'asks.count' is None, not a score"):
        scored(Toy.Config(samples=3), "capabilities", tmp_path, capabilities=("asks.count",), **wanted)
    with pytest.raises(ValueError, match="must differ"):
        Capabilities.Config(capabilities=("a.x", "b.x"), **wanted)


def test_chance_is_fair_and_the_same_again() -> None:
    table = numbers(x=np.arange(1000.0))
    one, again, other = (select("random", table, 300, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len(set(one)) == 300
    assert abs(np.mean(one) - 499.5) < 50  # 3 standard deviations: 289 x sqrt(0.7 / 300)
