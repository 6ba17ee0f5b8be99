"""Texts that models write as columns, and training on them: re-captioning, fusion, self-consistency, triples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from toy import COLOURS, Toy, png, toy_model, toy_recipe
from typer.testing import CliRunner

import sensorium as sm
from sensorium.cli import app
from sensorium.config import find_part
from sensorium.curation.choose import choose
from sensorium.curation.columns import read_table
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.scorers.mme5 import INSTRUCTION, revised
from sensorium.curation.scorers.recaption import Recaption
from sensorium.curation.table import Table
from sensorium.curation.writer import filled, without_sentences
from sensorium.data.batch import collate
from sensorium.data.candidates import Candidate, parts, retrieval
from sensorium.data.selection import Selection, identity
from sensorium.data.source import Source
from sensorium.data.sources.caption_mix import CaptionMix
from sensorium.data.sources.selected import Selected
from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.language import dense_caption
from sensorium.data.worlds.tongues import GRAMMARS
from sensorium.errors import ConfigError, DataError, LayoutError
from sensorium.generation.engine import generate
from sensorium.model import Model
from sensorium.objectives.next_token import NextToken
from sensorium.recipe import Stage
from sensorium.sample import Sample, Text, as_sample
from sensorium.training.trainer import train

ASK = "What is it?"
ALT = "Alt: {text}. What is it?"
FUSE = "{first} + {second}"


class Squares(Source, name="squares"):
    """Pictures of one colour, three in four with a wrong caption and all with an alt-text that knows a name."""

    class Config(Source.Config):
        samples: int = 8

    def __len__(self) -> int:
        return self.config.samples

    def __getitem__(self, index: int) -> Sample:
        if index == 5:
            raise DataError("squares/5: broken")
        colour = list(COLOURS)[index % 4]
        sample = sm.caption(png(colour, (16, 16)), f"raw {index}", id=str(index), source="squares")
        sample.meta["record"] = {"alt": f"Ann {{text}} {colour}"}
        return sample


SQUARES = Squares.Config()


def teach(model: Model, samples: list[Sample]) -> None:
    """Train until the samples are known by heart."""
    batch = collate([[model.layout(sample)] for sample in samples], model.layout)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss = NextToken(NextToken.Config())(model, batch)
        if loss.total.item() < 0.01 * loss.count:
            return
        optimiser.zero_grad()
        (loss.total / loss.count).backward()
        optimiser.step()
    raise AssertionError(f"the loss is still {loss.total.item() / loss.count:.3f}")


TRANSCRIPT = "Draft positive: a {0} dot\nQuery: which?\nPositive: a {0} square\nNegative: a {1} square"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model that has been taught to name a colour, to use an alt-text, to fuse two texts and mmE5's form."""
    torch.manual_seed(0)
    lessons, names = [], list(COLOURS)
    for colour, other in zip(names, [*names[1:], names[0]], strict=True):
        picture = png(colour, (16, 16))
        lessons += [
            sm.chat([picture], [(ASK, f"It is {colour}.")]),
            sm.chat([picture], [(filled(ALT, {"text": f"Ann {{text}} {colour}"}), f"Ann is {colour}.")]),
            sm.chat([picture], [("Triple?", TRANSCRIPT.format(colour, other))]),
            *(
                sm.chat([], [(filled(FUSE, {"first": f"raw {index}", "second": f"It is {colour}."}),
                              f"raw {index} is {colour}.")])
                for index in range(8) if names[index % 4] == colour
            ),
        ]  # fmt: skip
    model = toy_model("model.context=128")
    teach(model, lessons)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    model.save(folder)
    return folder


def scored(source: Source.Config, scorer: str, out: Path, **config: Any) -> Table:
    score([source], find_part("scorer", scorer).from_dict(config), out)
    return read_table(out, [source])


def said(sample: Sample) -> list[str]:
    return [segment.text for segment in sample.segments if isinstance(segment, Text) and segment.supervise]


# --- what models write ---


def test_a_model_captions_anew_with_and_without_what_came_with_the_picture(teacher: Path, tmp_path: Path) -> None:
    config = {"checkpoint": str(teacher), "max_tokens": 16}
    table = scored(SQUARES, "recaption", tmp_path, instruction=ASK, **config)
    colours = [list(COLOURS)[index % 4] for index in range(8)]
    expected = [f"It is {colour}." if index != 5 else "" for index, colour in enumerate(colours)]
    assert table["recaption.text"].values.tolist() == expected
    assert np.flatnonzero(~table["recaption.text"].known).tolist() == [5]
    hinted = scored(SQUARES, "recaption", tmp_path / "alt", instruction=ALT, hint="{alt}", **config)
    assert hinted["recaption.text"].values[6] == f"Ann is {colours[6]}.", "braces in an alt-text are plain"
    cut = scored(SQUARES, "recaption", tmp_path / "cut", instruction=ASK, artefacts=["IT IS blue"], **config)
    assert cut["recaption.text"].values.tolist() == [text if "blue" not in text else "" for text in expected]


def test_a_written_column_is_chained_fused_and_trained_on(teacher: Path, tmp_path: Path) -> None:
    """CapsFusion from end to end: caption, select, fuse what was said with it, select, train."""
    config = {"checkpoint": str(teacher), "max_tokens": 24}
    scores, first, second = tmp_path / "scores", tmp_path / "first", tmp_path / "second"
    Pool(sources=(SQUARES,)).claim(scores)
    scored(SQUARES, "recaption", scores, instruction=ASK, **config)
    every = find_part("selector", "threshold").from_dict({"column": "recaption.text"})
    choose(scores, every, first, texts=["recaption.text"])
    pool = Pool.find(str(first / "sources.yaml"))
    pool.claim(second)
    (source,) = pool.sources
    assert said(source.build()[0]) == ["raw 0"], "what was found beside the picture is still there"
    table = scored(source, "refine", second, instruction=FUSE, **config)
    colours = [list(COLOURS)[index % 4] for index in range(8) if index != 5]
    places = [index for index in range(8) if index != 5]
    fused = [f"raw {index} is {colour}." for index, colour in zip(places, colours, strict=True)]
    assert table["refine.text"].values.tolist() == fused
    choose(
        second, find_part("selector", "threshold").from_dict({"column": "refine.text"}), second, texts=["refine.text"]
    )
    data = yaml.safe_load((second / "data.yaml").read_text())["data"]
    stage = Stage.from_dict({"name": "fused", "data": data, "steps": 1, "length": 96, "rows": 1})
    trained = stage.data[0].source.build()
    assert [said(trained[index]) for index in range(len(trained))] == [[text] for text in fused]
    recipe = toy_recipe().model_copy(update={"stages": (stage,)})
    train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "quarantine.jsonl").exists()


def test_the_answer_that_most_give_takes_the_recorded_one_s_place(teacher: Path, tmp_path: Path) -> None:
    """SIcog from end to end: ask often, keep what agrees, train on it; earlier answers are not taught again."""
    config = {"checkpoint": str(teacher), "answers": 4, "questions": [ASK, "Say."], "max_tokens": 8}
    Pool(sources=(SQUARES,)).claim(tmp_path / "scores")
    table = scored(SQUARES, "consistency", tmp_path / "scores", **config)
    agreement, answers = table["consistency.agreement"], table["consistency.answer"]
    select = ["select", tmp_path / "scores", "--with", "threshold", "column=consistency.agreement", "least=0.4"]
    command = [*select, "--text", "consistency.answer", "--out", tmp_path / "own", "--quiet"]
    result = CliRunner().invoke(app, ["data", *map(str, command)])
    assert result.exit_code == 0, result.output
    (entry,) = yaml.safe_load((tmp_path / "own" / "data.yaml").read_text())["data"]
    source = Source.Config.from_dict(entry["source"]).build()
    kept = [i for i in np.flatnonzero(agreement.known & (agreement.values >= 0.4)) if answers.values[i]]
    assert [source[n].id for n in range(len(source))] == [str(i) for i in kept]
    assert [said(source[n]) for n in range(len(source))] == [[answers.values[i]] for i in kept]


def test_candidates_are_asked_in_turn_and_read_after_the_mark(teacher: Path, tmp_path: Path) -> None:
    config = {"checkpoint": str(teacher), "answers": 2, "temperature": 0.01, "max_tokens": 12}
    agreed = scored(SQUARES, "consistency", tmp_path / "a", questions=[ASK], after="is", **config)
    assert agreed["consistency.answer"].values[0] == f"{next(iter(COLOURS))}."
    assert agreed["consistency.agreement"].values[0] == pytest.approx(1)
    without = scored(SQUARES, "consistency", tmp_path / "b", questions=[ASK], after="Step 5:", **config)
    assert without["consistency.answer"].values[0] == f"It is {next(iter(COLOURS))}."


def test_a_reply_that_has_not_ended_is_told_and_its_last_sentence_left_out(teacher: Path, tmp_path: Path) -> None:
    model, prompt = sm.load(teacher), [sm.Image(png("red", (16, 16))), ASK]
    tokens = len(model.tokenizer.encode("It is red."))
    for limit, expected in ((tokens, [0]), (tokens + 1, [])):
        cut: list[int] = []
        assert generate(model, [as_sample(prompt)], max_tokens=limit, on_cut=cut.append) == ["It is red."]
        assert cut == expected
    table = scored(SQUARES, "recaption", tmp_path, checkpoint=str(teacher), instruction=ASK, max_tokens=tokens)
    assert table["recaption.text"].values[0] == ""
    writer = Recaption(Recaption.Config(checkpoint=teacher), tmp_path)
    assert writer.whole("A cup. It is full! It costs 3.5 and") == "A cup. It is full!"


def test_words_of_instructions_and_artefacts_by_hand() -> None:
    assert filled("{a} {b} {a}", {"a": "{b}", "c": "x"}) == "{b} {b} {b}"
    assert without_sentences("A dog. This caption is long! Two?  Three", ["CAPTION"]) == "A dog. Two? Three"
    assert without_sentences("  as it  is ", []) == "  as it  is "


# --- texts in selections ---


def test_texts_of_a_selection_are_fields_and_follow_their_samples(tmp_path: Path) -> None:
    texts = {"recaption.text": ["é one", "two"], "recaption.more": ["", "x"]}
    file = tmp_path / "s.npz"
    Selection(identity(SQUARES), np.array([6, 2]), np.array([1.0, 2.0]), texts).write(file)
    source = Selected(Selected.Config(source=SQUARES, selection=file))
    records: list[Any] = [source[index].meta["record"] for index in range(len(source))]
    assert [record["recaption"] for record in records] == [
        {"text": "é one", "more": ""}, {"text": "two", "more": "x"}, {"text": "two", "more": "x"}
    ]  # fmt: skip
    assert records[0]["alt"].startswith("Ann")
    assert SQUARES.build()[6].meta["record"] == {"alt": records[0]["alt"]}, "the source's own stays as it is"
    Selection(identity(SQUARES), np.array([6, 2]), None, {"alt.text": ["a", "b"]}).write(file)
    with pytest.raises(DataError, match="squares/6: its record has 'alt' already; score again with another label"):
        Selected(Selected.Config(source=SQUARES, selection=file))[0]
    Selection(identity(SQUARES), np.array([6, 2]), None, {"a.text": ["a"]}).write(file)
    with pytest.raises(DataError, match=r"1 texts of 'a.text' for 2 samples"):
        Selected(Selected.Config(source=SQUARES, selection=file))


def test_only_a_column_of_text_can_be_said(tmp_path: Path) -> None:
    Pool(sources=(SQUARES,)).claim(tmp_path)
    scored(SQUARES, "text-quality", tmp_path)
    every = find_part("selector", "threshold").from_dict({"column": "text-quality.words"})
    with pytest.raises(ConfigError, match=r"'text-quality\.words' is not text"):
        choose(tmp_path, every, tmp_path / "out", texts=["text-quality.words"])


def test_own_words_and_new_ones_come_in_the_ratio_of_their_weights() -> None:
    config = {"source": SQUARES.to_dict(), "captions": {"": 1, "{alt}": 3}, "copies": 200}
    source = CaptionMix.Config.from_dict(config).build()
    counted = Counter(said(source[index])[0].split()[0] for index in range(len(source)) if index % 8 != 5)
    share = counted["raw"] / counted.total()
    assert counted.keys() == {"raw", "Ann"}
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / counted.total()) ** 0.5


def test_of_several_turns_the_last_is_taught_alone() -> None:
    chats = {"source": Toy.Config().to_dict(), "captions": {"": 1}}
    source = CaptionMix.Config.from_dict({**chats, "turns": "last"}).build()
    before, after = Toy.Config().build()[2], source[2]
    assert [s.supervise for s in before.segments] == [False, False, True, False, True]
    assert [s.supervise for s in after.segments] == [False, False, False, False, True]
    assert said(after) == said(before)[-1:]
    with pytest.raises(DataError, match="toy/2: has 2 supervised texts; caption-mix needs one, or turns=last"):
        CaptionMix.Config.from_dict(chats).build()[2]
    with pytest.raises(DataError, match="toy/0: comes without a record"):
        CaptionMix.Config.from_dict({**chats, "captions": {"{alt}": 1}}).build()[0]


# --- triples ---


def test_a_reply_is_read_by_its_lines() -> None:
    reply = "Description: a cup\nof tea: hot\n**Draft positive:** a mug\nEvaluation: query: fine\n" \
            "Query: what?\nPositive : a cup\n of tea\nNegative: a pot"  # fmt: skip
    assert revised(reply) == ("what?", "a cup\n of tea", "a pot", "a mug")
    assert revised(reply + "\nPositive: A Pot") == ("",) * 4, "a negative that is the positive"
    assert revised("Draft query: a\nPositive: b\nNegative: c") == ("",) * 4, "a draft is no revised query"
    assert revised("") == ("",) * 4
    assert "{" not in filled(INSTRUCTION, {"task": "", "language": ""})


def test_what_a_teacher_writes_becomes_queries_and_documents(teacher: Path, tmp_path: Path) -> None:
    """With a small model that was taught the form: no model that could do it unasked is here."""
    Pool(sources=(SQUARES,)).claim(tmp_path)
    table = scored(SQUARES, "mme5", tmp_path, checkpoint=str(teacher), instruction="Triple?", max_tokens=90)
    cut = scored(SQUARES, "mme5", tmp_path / "cut", checkpoint=str(teacher), instruction="Triple?", max_tokens=64)
    assert not any(cut["mme5.positive"].values), "what was cut may be half a text"
    first, second = list(COLOURS)[:2]
    assert table["mme5.draft"].values[0] == f"a {first} dot"
    names = ["mme5.query", "mme5.positive", "mme5.negative"]
    choose(tmp_path, find_part("selector", "threshold").from_dict({"column": names[1]}), tmp_path / "out", texts=names)
    (source,) = Pool.find(str(tmp_path / "out" / "sources.yaml")).sources
    (plain,) = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["data"]
    assert plain["source"] == source.to_dict(), "nobody has said which of several texts is to be taught"
    triples = {"type": "triples", "source": source.to_dict(), "instruction": "Find."}
    for combination, kinds in {"I-T": "I|T|T", "IT-T": "IT|T|T", "T-I": "T|I|"}.items():
        made = Source.Config.from_dict({**triples, "combination": combination}).build()
        query, right, wrong = parts(made[0])
        assert len(made) == 7
        assert query.segments[0] == Text("Find.", role="system")
        shown = [
            "".join(type(s).__name__[0] for s in one.segments if s.role != "system") for one in (query, *right, *wrong)
        ]
        assert "|".join([*shown, ""][:3]) == kinds
    assert said(made[0]) == []
    made = Source.Config.from_dict({**triples, "combination": "IT-T"}).build()
    query, (right,), (wrong,) = parts(made[0])
    texts = [s.text for one in (query, right, wrong) for s in one.segments if isinstance(s, Text)]
    assert texts == ["Find.", "which?", f"a {first} square", f"a {second} square"]


def test_factorworld_s_negatives_are_wrong_by_one_object() -> None:
    world = {"size": (16, 16), "scenes": 120}
    source = Source.Config.from_dict({"type": "factorworld-triples", "world": world, "languages": ["en", "de"]}).build()
    met = Counter()
    for index in range(120):
        sample: Any = source[index]
        query, (right,), (wrong,) = parts(sample)
        scene, changed = sample.meta["scene"], sample.meta["changed"]
        assert len(set(scene.objects) & set(changed.objects)) == len(scene.objects) - 1
        assert right.segments != wrong.segments
        texts = [dense_caption(one, GRAMMARS[sample.meta["language"]], Dice("words"))[1] for one in (scene, changed)]
        pieces = [
            s.text if isinstance(s, Text) else s.source.scene for one in (query, right, wrong) for s in one.segments
        ]
        match sample.meta["combination"]:
            case "I-T":
                assert pieces[1:] == [scene, *texts]
            case "T-I":
                assert pieces[1:] == [texts[0], scene, changed]
            case "IT-T":
                assert pieces[1] == scene
                assert pieces[3] != pieces[4]
            case "IT-I":
                assert [pieces[1], *pieces[3:]] == [scene, changed, scene]
        met[sample.meta["combination"]] += 1
    assert min(met.values()) > 15
    assert len(met) == 4


def test_a_document_to_be_compared_is_never_laid_out_in_place() -> None:
    sample = retrieval("", [Text("a")], [Text("b")], id="1", source="s")
    assert sample.segments[1] == Candidate((Text("b"),), True)
    with pytest.raises(LayoutError, match="s/1: no encoder reads a Candidate segment here"):
        toy_model().layout(sample)
    with pytest.raises(DataError, match="s/1: a query or a document is empty"):
        retrieval("find", [], [Text("b")], id="1", source="s")
    with pytest.raises(DataError, match="holds no query and document"):
        parts(sm.caption(b"", "x"))


def test_the_page_of_scores_shows_what_was_written(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"sources": [SQUARES.to_dict()]}))
    scores, page = tmp_path / "scores", tmp_path / "page.html"
    keys = [f"checkpoint={teacher}", f"instruction={json.dumps(ASK)}", "max_tokens=16"]
    for command in (["score", tmp_path / "pool.yaml", "--with", "recaption", *keys, "--out", scores, "--quiet"],
                    ["report", scores, "--out", page]):  # fmt: skip
        result = CliRunner().invoke(app, ["data", *map(str, command)])
        assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "<h2>recaption.text</h2>" in text
    assert "7 of 8 samples have a text" in text
    assert text.count("It is") == 6
