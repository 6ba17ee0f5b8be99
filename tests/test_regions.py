"""Regions: from a sample to the tiles that show them, and what the objective makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toy import png, toy_model

import sensorium as sm
from sensorium.connectors.peaks import Peaks
from sensorium.data.batch import Batch, collate
from sensorium.data.regions import seen_through
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.worlds.render import picture
from sensorium.errors import ConfigError, DataError
from sensorium.objectives.region_tokens import RegionTokens
from sensorium.pages.laid import sample_card
from sensorium.sample import Image, Region, Sample, Text

LEFT, RIGHT = Region((0.0, 0.0, 0.5, 1.0), "red"), Region((0.5, 0.0, 1.0, 1.0), "blue red")


def batch_of(model: Any, size: tuple[int, int], *regions: Region) -> Batch:
    picture = Image(png("red", size), regions=regions)
    laid = model.layout(Sample((Text("no picture before"),))), model.layout(Sample((picture, Text("x"))))
    return collate([list(laid)], model.layout)


def test_a_region_is_in_every_tile_that_shows_its_middle() -> None:
    views = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (-0.5, -0.5, 1.5, 1.5)]
    seen = dict(seen_through(views, Region((0.4, 0.2, 0.8, 0.4), "x")))
    assert list(seen) == [0, 2, 3]
    assert seen[0] == (0.4, 0.2, 0.8, 0.4)
    assert seen[2] == pytest.approx((-0.2, 0.2, 0.6, 0.4))
    assert seen[3] == pytest.approx((0.45, 0.35, 0.65, 0.45))


@pytest.mark.parametrize("box", [(10, 10, 20, 20), (0.5, 0.1, 0.4, 0.2), (0.1, 0.3, 0.2, 0.3), (0.9, 0.1, 1.2, 0.2)])
def test_a_box_that_is_none_is_refused(box: Any) -> None:
    with pytest.raises(DataError, match=r"region 'a cat': found the box .* divide pixels by the picture's size"):
        Region(box, "a cat")
    with pytest.raises(DataError, match="has no text"):
        Region((0.0, 0.0, 1.0, 1.0), "")


def test_a_middle_at_the_very_edge_stays_in_the_last_cell() -> None:
    model = toy_model("model.connector=linear", "model.tiling=whole")
    batch = batch_of(model, (16, 16), Region((0.99999999, 0.0, 1.0, 0.1), "red"))
    vocab = model.tokenizer.vocab_size
    first = torch.zeros(1, dtype=torch.int64)
    targets = RegionTokens(RegionTokens.Config()).targets(batch, first, torch.Size((1, 4, 4, vocab)), 0)
    assert (targets[0, :, :, 0] == 0).nonzero().tolist() == [[0, 3]]


def test_a_batch_carries_regions_in_the_numbers_of_its_tiles() -> None:
    model = toy_model()
    regions = batch_of(model, (32, 16), LEFT, RIGHT).regions
    assert regions.tiles.tolist() == [0, 1, 0, 2], "the thumbnail, and the tile of each half"
    words = [model.tokenizer.encode(region.text) for region in (LEFT, LEFT, RIGHT, RIGHT)]
    assert [tuple(i for i in row if i >= 0) for row in regions.ids.tolist()] == words
    assert regions.boxes[1].tolist() == pytest.approx([0, 0, 1, 1])


def test_regions_are_nothing_to_the_model() -> None:
    model, picture = toy_model(), png("red", (16, 16))
    with_regions, without = ([Image(picture, regions=given), "what?"] for given in ((LEFT, RIGHT), ()))
    assert torch.equal(model.logits([with_regions])[0], model.logits([without])[0])


def test_the_inspection_outlines_regions() -> None:
    model = toy_model()
    laid = model.layout(Sample((Image(png("red", (32, 16)), regions=(RIGHT,)), Text("x"))))
    card = str(sample_card(laid, model.layout, "toy"))
    assert card.count('class="region"') == 2, "in the thumbnail and in the right tile"
    assert 'style="left:0.0%;top:0.0%;width:100.0%;height:100.0%" title="blue red"' in card


def test_targets_by_hand() -> None:
    model = toy_model("model.connector=linear", "model.tiling=whole")
    batch = batch_of(model, (16, 16), Region((0.0, 0.0, 0.2, 0.2), "red"), Region((0.7, 0.2, 0.8, 0.8), "red blue"))
    vocab = model.tokenizer.vocab_size
    objective, first = RegionTokens(RegionTokens.Config()), torch.zeros(2, dtype=torch.int64)
    targets = objective.targets(batch, first, torch.Size((1, 4, 4, vocab)), 0)
    red, both = (set(model.tokenizer.encode(text)) for text in ("red", "red blue"))
    for cell in range(16):
        wanted = {0: red, 11: both}.get(cell, {0})  # the middle of the second is (0.75, 0.5): row 2, column 3
        row = targets[0, cell // 4, cell % 4]
        assert set(row.nonzero().flatten().tolist()) == wanted
        assert row.tolist() == pytest.approx([(i in wanted) / len(wanted) for i in range(vocab)])


def test_the_loss_is_a_cross_entropy_in_each_cell() -> None:
    model = toy_model("model.connector=linear", "model.tiling=whole")
    batch = batch_of(model, (16, 16), LEFT)
    loss = RegionTokens(RegionTokens.Config())(model, batch)
    tokens = model.connector(model.encoder(batch.tiles))[0]
    logits = model.head(tokens * (tokens.pow(2).mean(-1, keepdim=True) + torch.finfo().eps).rsqrt())
    ids = list(set(model.tokenizer.encode("red")))  # the middle is (0.25, 0.5): row 2, column 1
    by_hand = [-torch.log_softmax(row, 0)[ids if cell == 9 else [0]].mean() for cell, row in enumerate(logits)]
    assert loss.count == 1
    torch.testing.assert_close(loss.total, torch.stack(by_hand).mean())


def test_without_places_the_picture_is_one_cell() -> None:
    model = toy_model("model.connector=summary", "model.tiling=whole")
    batch = batch_of(model, (16, 16), LEFT, RIGHT)
    loss = RegionTokens(RegionTokens.Config())(model, batch)
    pooled = model.connector(model.encoder(batch.tiles)).mean(1)
    logits = model.head(torch.nn.functional.rms_norm(pooled, pooled.shape[-1:]))[0]
    words = sorted({*model.tokenizer.encode(LEFT.text), *model.tokenizer.encode(RIGHT.text)})
    torch.testing.assert_close(loss.total, -logits.log_softmax(0)[words].mean())


def test_peaks_are_picked_with_their_neighbours_left_out() -> None:
    """By hand: salience by place, and which places leave as tokens."""
    connector = Peaks(Peaks.Config(peaks=3), 1, 8, (4, 4))
    with torch.no_grad():
        connector.salience.weight.fill_(10)
        connector.salience.bias.fill_(-5)
        features = torch.zeros(1, 16, 1)
        features[0, 5], features[0, 6], features[0, 15] = 2.0, 1.9, 1.5  # 6 is beside 5, 15 is apart
        tokens, located = connector(features)[0], connector.located(features)
        everywhere = located.tokens[0] + connector.rows + connector.columns
    assert located.salience is not None
    kept = [
        place
        for place in range(16)
        if any(torch.allclose(token, everywhere.flatten(0, 1)[place], atol=1e-3) for token in tokens)
    ]
    assert kept == [5, 15]
    blank = [torch.allclose(token, connector.blank, atol=0.2) for token in tokens]
    assert sum(blank) == 1, "the third place stands out from nothing"


def test_places_that_do_not_stand_out_leave_as_blanks_behind_the_others() -> None:
    connector = Peaks(Peaks.Config(peaks=4), 1, 8, (4, 4))
    salience = torch.zeros(2, 16)
    salience[0, 9], salience[0, 2] = 0.9, 0.3
    salience[1, 0] = 0.1
    assert connector._chosen(salience)[:, :2].tolist() == [[2, 9], [0, 1]]
    assert connector._chosen(salience)[0, 2:].tolist() == [0, 1], "the first of those that are alike"


def test_factorworld_says_where_its_objects_are() -> None:
    world = FactorWorld(FactorWorld.Config(regions=True, style="short", size=(96, 64), noise=0, backgrounds=("plain",)))
    for index in range(50):
        sample: Any = world[index]
        (image,), scene = sample.images, sample.meta["scene"]
        assert len(image.regions) == len(scene.objects)
        for region, thing in zip(image.regions, scene.objects, strict=True):
            left, top, right, bottom = region.box
            assert 0 <= left < thing.x < right <= 1
            assert 0 <= top < thing.y < bottom <= 1
            assert {thing.size, thing.colour, thing.shape} < set(region.text.split())


def test_factorworld_says_what_is_written_and_where() -> None:
    plain: Any = {"writing": 1.0, "size": (96, 64), "noise": 0, "backgrounds": ("plain",)}
    with_it = FactorWorld(FactorWorld.Config(regions=True, style="short", **plain))
    for index in range(50):
        sample: Any = with_it[index]
        (image,), scene = sample.images, sample.meta["scene"]
        *_, region = image.regions
        assert region.text == scene.writing.text
        drawn = np.asarray(picture(scene, (96, 64))) != np.asarray(picture(replace(scene, writing=None), (96, 64)))
        rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in ((1, 2), (0, 2)))
        found = columns[0] / 96, rows[0] / 64, (columns[-1] + 1) / 96, (rows[-1] + 1) / 64
        assert region.box == pytest.approx(found, abs=1.5 / 64)


def test_a_document_has_no_regions() -> None:
    with pytest.raises(ConfigError, match="regions: only known of captions and chats"):
        sm.recipe("demo", "stages.0.data.0.source.style=document")
