"""Mixture, shuffle and packer."""

from __future__ import annotations

import json
import random
from itertools import combinations, islice
from typing import Any

import numpy as np
import pytest
import torch
from toy import Toy, toy_model, toy_recipe

from sensorium.data.batch import collate
from sensorium.data.loader import Loader
from sensorium.data.mixture import Key, Mixture, permuted
from sensorium.data.packer import Packer
from sensorium.data.packing import fullest
from sensorium.data.quarantine import Refusal
from sensorium.laid_out import LaidOut
from sensorium.sample import Sample
from sensorium.training.stage_run import reading

# mixture


def draws(weights: list[float], count: int) -> list[list[int]]:
    """How many each source has given after every draw."""
    mixture, after = Mixture([range(17) for _ in weights], weights, seed=0), []
    for _ in range(count):
        mixture.next_key()
        after.append(list(mixture.drawn))
    return after


@pytest.mark.parametrize("weights", [[1], [1, 1], [3, 1], [0.7, 0.2, 0.1], [5, 3, 1, 1], [100, 1], [1] * 7])
def test_proportions_hold_at_every_prefix(weights: list[float]) -> None:
    share = np.array(weights) / sum(weights)
    for total, drawn in enumerate(draws(weights, 300), 1):
        assert sum(drawn) == total
        assert np.abs(np.array(drawn) - share * total).max() < 1


def test_no_source_is_ever_a_sample_ahead() -> None:
    dice = random.Random(0)
    for _ in range(30):
        weights = [dice.uniform(0.01, 1) for _ in range(dice.randrange(2, 9))]
        share = np.array(weights) / sum(weights)
        for total, drawn in enumerate(draws(weights, 200), 1):
            lead = np.array(drawn) - share * total
            assert lead.max() < 1
            assert lead.min() > -2


def test_every_epoch_shows_everything_once_in_another_order() -> None:
    mixture = Mixture([range(20)], [1.0], seed=5)
    epochs = [[mixture.next_key().index for _ in range(20)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("length", [*range(1, 40), 64, 65, 100, 1000, 4097])
def test_the_shuffle_is_a_bijection(length: int) -> None:
    assert sorted(permuted(place, length, "seed") for place in range(length)) == list(range(length))


def test_the_shuffle_shuffles() -> None:
    order = np.array([permuted(place, 10_000, "a") for place in range(10_000)])
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert (np.abs(np.diff(order)) == 1).mean() < 0.01
    assert permuted(3, 10**15, "a") != permuted(3, 10**15, "b")


# packer


class Rods:
    """A source of lengths, and the layout that makes rods of them."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sample:
        return Sample((), id=str(index), source=str(self.lengths[index]))

    def __call__(self, sample: Sample) -> LaidOut:
        length = int(sample.source)
        return LaidOut(
            sample, np.zeros(length, dtype=np.int64), np.ones(length, dtype=bool), np.zeros(length, dtype=bool), ()
        )


def packer_of(lengths: list[int], row: int, buffer: int) -> Packer:
    rods: Any = Rods(lengths)
    return Packer(Mixture([rods], [1.0], 0), rods, row, buffer, refuse)


def refuse(refusal: Refusal) -> None:
    pytest.fail(refusal.reason)


def packs_of(packer: Packer, count: int) -> list[list[LaidOut]]:
    return [pack.laid for pack in islice(iter(packer.next_pack, None), count)]


REALISTIC = {
    # what instruction data looks like: a few hundred tokens, a long tail, or a picture's worth and a short answer
    "log-normal": lambda dice: min(2048, int(dice.lognormvariate(5.5, 0.8)) + 8),
    "pictures and short answers": lambda dice: dice.choice([576] * 7 + [0] * 3) + dice.randrange(20, 120),
    "pictures and texts": lambda d: 576 + d.randrange(20, 120) if d.random() < 0.7 else d.randrange(40, 400),
    "uniform": lambda dice: dice.randrange(30, 600),
}  # fmt: skip


@pytest.mark.parametrize("kind", REALISTIC)
def test_rows_are_at_least_97_percent_full(kind: str) -> None:
    dice = random.Random(0)
    packer = packer_of([REALISTIC[kind](dice) for _ in range(4000)], 2048, 64)
    packs = packs_of(packer, 300)
    assert sum(len(laid) for pack in packs for laid in pack) / (300 * 2048) >= 0.97
    assert all(sum(map(len, pack)) <= 2048 for pack in packs)


def test_the_rest_of_a_row_is_filled_as_well_as_can_be() -> None:
    dice = random.Random(3)
    for _ in range(50):
        lengths, room = [dice.randrange(1, 30) for _ in range(dice.randrange(9))], dice.randrange(60)
        chosen = fullest(lengths, room)
        sums = [sum(some) for n in range(len(lengths) + 1) for some in combinations(lengths, n)]
        assert len(set(chosen)) == len(chosen)
        assert sum(lengths[i] for i in chosen) == max(total for total in sums if total <= room)


def test_no_sample_waits_for_ever() -> None:
    """A long one cannot be passed over again and again by short ones that fit better: the oldest always goes."""
    packer = packer_of([60] * 5 + [10] * 500, 64, 16)
    for _ in range(120):
        oldest = packer.waiting[0][1] if packer.waiting else None
        (pack,) = packs_of(packer, 1)
        assert oldest in (None, pack[0])


def test_the_state_is_small_and_exact() -> None:
    dice = random.Random(1)
    lengths = [dice.randrange(5, 60) for _ in range(300)]
    packer = packer_of(lengths, 64, 32)
    packs_of(packer, 25)
    state = json.dumps(packer.state())
    assert len(state) < 1000
    wanted = [[laid.sample.id for laid in pack] for pack in packs_of(packer, 40)]
    again = packer_of(lengths, 64, 32)
    again.restore(json.loads(state))
    assert [[laid.sample.id for laid in pack] for pack in packs_of(again, 40)] == wanted


def test_micro_batches_are_the_same_rows() -> None:
    rows = reading(toy_recipe("stages.0.rows=4"), 0, toy_model().layout)
    (one,) = Loader(rows, 4).next_step()
    parts = Loader(rows, 2).next_step()
    for name in ("ids", "supervised", "positions", "documents", "media", "tiles"):
        assert torch.equal(getattr(one, name), torch.cat([getattr(part, name) for part in parts]))


def test_a_blind_packer_withholds_the_pictures() -> None:
    (batch,) = Loader(reading(toy_recipe("blind=true", "stages.0.rows=4"), 0, toy_model().layout), 4).next_step()
    assert not len(batch.tiles)
    assert not batch.media.any()
    assert batch.supervised.any()


# batches


def test_tiles_stand_in_the_order_of_their_places() -> None:
    model, source = toy_model(), Toy(Toy.Config())
    laid = [model.layout(source[i]) for i in (3, 4, 1, 8)]
    batch = collate([laid[:2], laid[2:]], model.layout)
    assert batch.documents.max(dim=1).values.tolist() == [2, 2]
    one_by_one = [collate([[one]], model.layout).tiles for one in laid]
    assert torch.equal(batch.tiles, torch.cat(one_by_one))
    assert int(batch.media.sum()) == len(batch.tiles) * model.layout.media.tile.tokens
    assert len(batch.pictures.tile_positions) == len(batch.tiles)
    assert batch.names() == "toy/3, toy/4, toy/1, toy/8"
    assert batch.real_tokens == sum(map(len, laid))


def test_keys_read_what_was_drawn() -> None:
    source = Toy(Toy.Config())
    mixture = Mixture([source, source], [1, 2], 3)
    keys = [mixture.next_key() for _ in range(6)]
    assert [key.source for key in keys].count(1) == 4
    assert all(mixture.read(key).id == str(key.index) for key in keys)
    assert keys[0] == Key(keys[0].source, keys[0].index)
