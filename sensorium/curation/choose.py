"""Selecting: from the columns of a pool to a selection file for each of its sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from sensorium.atomic import write_file, write_with
from sensorium.curation.columns import read_table
from sensorium.curation.pool import Pool
from sensorium.curation.step import Selector
from sensorium.data.selection import Selection, identity
from sensorium.data.sources.selected import Selected
from sensorium.errors import ConfigError, DataError
from sensorium.stage import Share

DATA = "data.yaml"


def choose(
    scores: Path, selector: Selector.Config, out: Path, *, share: float | None = None, count: int | None = None
) -> tuple[list[Selection], int]:
    """Select from the pool whose scores are in the folder `scores`; the selections and how many samples there were.

    `out` gets a file `N.npz` for each source and `data.yaml`, the `data` of a stage that trains on them.
    """
    if share is not None and count is not None:
        raise ConfigError("give a share or a count, not both")
    pool = Pool.at(scores)
    table = read_table(scores, pool.sources)
    if share is not None:
        count = round(share * len(table))
    kept = selector.build().select(table, count)
    if not len(kept):
        raise DataError(f"{scores}: {selector.type_name} keeps none of {len(table)} samples; loosen its bounds")
    selections, shares, start = [], [], 0
    for number, source in enumerate(pool.sources):
        length = len(source.build())
        own = kept[(kept >= start) & (kept < start + length)] - start
        selections.append(Selection(identity(source), own))
        file = (out / f"{number}.npz").resolve()
        write_with(file, selections[-1].write)
        if len(own):
            shares.append(Share(source=Selected.Config(source=source, selection=file), weight=len(own)))
        start += length
    write_file(out / DATA, yaml.safe_dump({"data": [one.to_dict() for one in shares]}, sort_keys=False))
    return selections, len(table)


def ranked(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The samples with a value, the highest first."""
    places = np.flatnonzero(known)
    return places[np.argsort(-values[places], kind="stable")]
