"""Between rows of values and the arrays of Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.curation.step import Value
from sensorium.curation.table import Column


def to_arrays(rows: Sequence[tuple[Value, ...] | None], kinds: Mapping[str, str]) -> dict[str, Any]:
    """An array for each column, null where a row is None."""
    import pyarrow as pa

    types = {
        "number": pa.float64(),
        "text": pa.string(),
        "vector": pa.list_(pa.float32()),
        "hash": pa.uint64(),
        "hashes": pa.list_(pa.uint64()),
    }
    return {
        name: pa.array([None if row is None else row[place] for row in rows], types[kind])
        for place, (name, kind) in enumerate(kinds.items())
    }


def to_column(array: Any, kind: str) -> Column:
    """A chunked arrow array as a column."""
    known = ~array.is_null().to_numpy()
    if kind == "text":
        return Column(np.array([text or "" for text in array.to_pylist()], dtype=object), known)
    if kind == "number":
        return Column.of(array.to_numpy(zero_copy_only=False).astype(np.float64))
    if kind == "hash":
        return Column(array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64), known)
    flat = array.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    width = len(flat) // max(1, int(known.sum()))
    values = np.full((len(known), width), np.nan if kind == "vector" else 0, flat.dtype)
    values[known] = flat.reshape(-1, width) if width else values[known]
    return Column(values, known)
