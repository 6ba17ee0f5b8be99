"""Selecting: from the columns of a pool to a selection file for each of its sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from sensorium.atomic import write_file, write_with
from sensorium.curation.columns import read_table
from sensorium.curation.pool import Pool
from sensorium.curation.step import Selector
from sensorium.curation.table import Table
from sensorium.data.selection import Selection, identity
from sensorium.data.sources.caption_mix import CaptionMix
from sensorium.data.sources.selected import Selected
from sensorium.errors import ConfigError, DataError
from sensorium.stage import Share

DATA, CHOSEN = "data.yaml", "sources.yaml"


def choose(
    scores: Path,
    selector: Selector.Config,
    out: Path,
    *,
    share: float | None = None,
    count: int | None = None,
    texts: Sequence[str] = (),
) -> tuple[list[Selection], int]:
    """Select from the pool whose scores are in the folder `scores`; the selections and how many samples there were.

    `out` gets a file `N.npz` for each source, `data.yaml`, the `data` of a stage that trains on them, and
    `sources.yaml`, with which they can be scored again. `texts` are columns of what was written anew, and become fields
    of the samples' records; samples without are left out. In `data.yaml` a single one takes the place of what the
    samples say; of several, it is for the user to say which does.
    """
    if share is not None and count is not None:
        raise ConfigError("give a share or a count, not both")
    pool = Pool.at(scores)
    table = read_table(scores, pool.sources)
    if share is not None:
        count = round(share * len(table))
    kept = selector.build().select(table, count)
    for name in texts:
        kept = kept[_written(table, name)[kept] != ""]
    if not len(kept):
        raise DataError(f"{scores}: {selector.type_name} keeps none of {len(table)} samples; loosen its bounds")
    selections, shares, start = [], [], 0
    for number, source in enumerate(pool.sources):
        length = len(source.build())
        own = kept[(kept >= start) & (kept < start + length)] - start
        said = {name: _written(table, name)[own + start].tolist() for name in texts}
        selections.append(Selection(identity(source), own, texts=said))
        file = (out / f"{number}.npz").resolve()
        write_with(file, selections[-1].write)
        if len(own):
            shares.append(Share(source=Selected.Config(source=source, selection=file), weight=len(own)))
        start += length
    write_file(out / CHOSEN, Pool(sources=tuple(one.source for one in shares)).to_yaml())
    if len(texts) == 1:
        captions = {f"{{{texts[0]}}}": 1.0}
        shares = [
            Share(source=CaptionMix.Config(source=one.source, captions=captions, turns="last"), weight=one.weight)
            for one in shares
        ]
    write_file(out / DATA, yaml.safe_dump({"data": [one.to_dict() for one in shares]}, sort_keys=False))
    return selections, len(table)


def _written(table: Table, name: str) -> np.ndarray:
    """The texts of a column, empty where there is none."""
    if (values := table[name].values).dtype.kind != "O":
        raise ConfigError(f"column '{name}' is not text; name one that is, such as recaption.text")
    return values


def ranked(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The samples with a value, the highest first."""
    places = np.flatnonzero(known)
    return places[np.argsort(-values[places], kind="stable")]
