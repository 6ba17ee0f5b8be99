"""What can be known of the order of samples: packing, and that the same seed says the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice

import numpy as np
import torch

from sensorium.checks.check import check
from sensorium.checks.finding import require
from sensorium.checks.subject import Subject
from sensorium.data.batch import Batch, collate
from sensorium.data.loader import Rank
from sensorium.data.packer import Pack, Packer
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut


@check("packing")
def packing(subject: Subject) -> str:
    """No sample is cut, lost or doubled by packing, and each is one numbered stretch with positions from 0."""
    reports = []
    for number, stage in enumerate(subject.recipe.stages):
        packer, twin = (subject.reading(number).packer(lambda refusal: None) for _ in range(2))
        packs: list[Pack] = []
        while len(packs) < 4 or sum(map(len, packs)) < subject.count:
            pack = packer.next_pack()
            if pack is None:
                break
            packs.append(pack)
        drawn = [_identity(laid) for laid in _drawn(twin, sum(packer.mixture.drawn))]
        packed = [_identity(laid) for pack in packs for laid in pack]
        waiting = [_identity(laid) for _, laid in packer.waiting]
        where = f"stage '{stage.name}'"
        require(not (gone := Counter(drawn) - Counter(packed + waiting)), f"{where}: lost or cut: {_names(gone)}")
        require(not (more := Counter(packed + waiting) - Counter(drawn)), f"{where}: doubled or cut: {_names(more)}")
        for pack in packs[:4]:
            _numbered(collate([pack.laid], packer.layout, stage.length), pack)
        full = sum(len(laid) for pack in packs for laid in pack) / (len(packs) * stage.length)
        reports.append(f"{stage.name} {full:.1%} full, {len(packed) / len(packs):.1f} samples a row")
    return "; ".join(reports)


def _drawn(packer: Packer, count: int) -> list[LaidOut]:
    """The usable ones of the first `count` samples of the mixture."""
    found = []
    for key in islice(iter(packer.mixture.next_key, None), count):
        try:
            found.append(packer.lay(key))
        except DataError:
            continue
    return found


def _identity(laid: LaidOut) -> tuple[str, bytes, bytes]:
    return laid.sample.name, laid.ids.tobytes(), laid.supervised.tobytes()


def _names(counter: Counter[tuple[str, bytes, bytes]]) -> str:
    return ", ".join(name for name, _, _ in list(counter)[:3])


def _numbered(batch: Batch, pack: Pack) -> None:
    start = 0
    for number, laid in enumerate(pack, 1):
        here, name = slice(start, start + len(laid)), laid.sample.name
        start += len(laid)
        require(
            bool((batch.documents[0, here] == number).all()), f"{name}: not document {number} of its row throughout"
        )
        require(batch.positions[0, here].tolist() == list(range(len(laid))), f"{name}: positions do not run from 0")
        require(batch.ids[0, here].tolist() == laid.ids.tolist(), f"{name}: its tokens changed in the batch")
        require(batch.supervised[0, here].tolist() == laid.supervised.tolist(), f"{name}: its labels moved")
    require(not batch.documents[0, start:].any(), "padding counts as a document")
    require(not batch.supervised[0, start:].any(), "padding is supervised")


@check("determinism")
def determinism(subject: Subject) -> str:
    """The same seed gives the same batches, whatever else was drawn, from a saved state too, and shared by ranks."""
    for number, stage in enumerate(subject.small.stages):
        first, again, resumed = (subject.loader(number) for _ in range(3))
        batches, state = first.next_step(), json.loads(json.dumps(first.state()))
        batches += first.next_step()
        _roll_the_global_dice()
        _same(batches, again.next_step() + again.next_step(), f"stage '{stage.name}' from the start")
        resumed.restore(state)
        _same(batches[2:], resumed.next_step(), f"stage '{stage.name}' from the state after one step")
        ranks = [subject.loader(number, Rank(rank, 2)) for rank in range(2)]
        for rank in ranks:
            rank.restore(state)
        shared = [batch for rank in ranks for batch in rank.next_step()]
        _same(batches[2:], shared, f"stage '{stage.name}' from that state, by two ranks")
    return "two steps of every stage, from the start, from the state after the first, and shared by two ranks"


def _roll_the_global_dice() -> None:
    """What another library in the process might do; the order of samples must not care."""
    random.random()
    np.random.rand()
    torch.rand(1)


def _same(batches: list[Batch], others: list[Batch], where: str) -> None:
    for ours, theirs in zip(batches, others, strict=True):
        require(ours.samples == theirs.samples, f"{where}: samples {ours.names()} became {theirs.names()}")
        different = ours.differs_from(theirs)
        require(not different, f"{where}: {', '.join(different)} differ")
