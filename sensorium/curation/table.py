"""Columns in memory: what selectors read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.config import nearest
from sensorium.errors import ConfigError


@dataclass(frozen=True)
class Column:
    """The values of a column, `[n]` or `[n, dim]`, and which are known, bool `[n]`; the others are 0, empty or NaN."""

    values: np.ndarray
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, values: Sequence[object] | np.ndarray) -> Column:
        """A column of which all is known, NaN excepted."""
        array = np.asarray(values)
        unknown = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), dtype=bool)
        return cls(array, ~np.any(unknown.reshape(len(array), -1), axis=1))

    def take(self, indices: np.ndarray) -> Column:
        return Column(self.values[indices], self.known[indices])


class Table:
    """Columns of the same length by `scorer.column`."""

    def __init__(self, columns: Mapping[str, Column], length: int | None = None) -> None:
        self.columns = dict(columns)
        self.length = length if length is not None else len(next(iter(self.columns.values()), ()))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, name: str) -> Column:
        """A `ConfigError` that names the nearest columns if there is none."""
        if name not in self.columns:
            raise ConfigError(f"no column '{name}' has been scored: {nearest(name, self.columns)}")
        return self.columns[name]

    def vectors(self, name: str) -> Column:
        """A column of vectors, `[n, dim]`, made to have length 1."""
        column = self[name]
        if column.values.ndim != 2 or column.values.dtype.kind != "f":
            raise ConfigError(f"column '{name}' holds no vectors; name one of a scorer such as picture-features")
        norms = np.linalg.norm(column.values, axis=1, keepdims=True)
        return Column(column.values / np.maximum(norms, 1e-12), column.known)

    def take(self, indices: np.ndarray) -> Table:
        """The rows at `indices`, in that order."""
        return Table({name: column.take(indices) for name, column in self.columns.items()}, len(indices))

    def __add__(self, other: Table) -> Table:
        """The rows of both, with the columns that both have."""
        shared = [name for name in self.columns if name in other.columns]
        joined = {
            name: Column(
                np.concatenate([self[name].values, other[name].values]),
                np.concatenate([self[name].known, other[name].known]),
            )
            for name in shared
        }
        return Table(joined, len(self) + len(other))
