"""Clouds of points from PLY and NumPy files: float32 `[points, 3 + features]`, as the file says and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from sensorium.data.media import open_bytes, reading, start_of
from sensorium.sample import MediaSource

MAX_VALUES = 100_000_000
"""Numbers of a cloud above which it is refused: 400 MB."""
MAX_LINE, MAX_LINES = 1000, 1000
"""How long the lines of a PLY header are, and how many, at most."""
PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_points(source: MediaSource, name: str = "points") -> np.ndarray:
    """float32 `[points, 3 + features]`: x, y and z, then the other properties in the file's order, in its units. From
    PLY (ASCII, or binary of either order) or from a .npy file of shape `[points, 3 or more]`, never unpickled. A
    `DataError` for a cloud that is empty, cut short, too large or not finite."""
    with reading(source, name), open_bytes(source, name) as file:
        kind = start_of(file)
        if kind not in ("npy", "ply"):
            raise ValueError("neither a PLY nor a .npy file")
        points = _npy(file) if kind == "npy" else _ply(file)
        if not len(points) or not np.isfinite(points).all():
            raise ValueError("it has numbers that are not finite" if len(points) else "it holds no points")
        return points


def _npy(file: BinaryIO) -> np.ndarray:
    if (version := np.lib.format.read_magic(file)) != (1, 0):  # others are for headers of more than 64 KiB
        raise ValueError(f"it is of version {version[0]}.{version[1]}; save it with numpy.save")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    if len(shape) != 2 or shape[1] < 3 or kind.kind not in "fiu":
        raise ValueError(f"it is {kind} of shape {shape}; expected numbers of shape [points, 3 or more]")
    flat = np.frombuffer(_exactly(file, shape[0] * shape[1], kind.itemsize), kind)
    return flat.reshape(shape, order="F" if fortran else "C").astype(np.float32)


def _exactly(file: BinaryIO, values: int, size: int) -> bytes:
    """The bytes of so many values; an error if there are fewer, before anything of that size is allocated."""
    if values > MAX_VALUES:
        raise ValueError(f"it has {values} numbers, more than {MAX_VALUES}; thin it out")
    place = file.tell()
    if (left := file.seek(0, 2) - place) < values * size:
        raise ValueError(f"it is cut short at {left} of {values * size} bytes")
    file.seek(place)
    return file.read(values * size)


@dataclass
class _Element:
    """A table of a PLY file: its rows, and the names and numpy types of its columns; None for a list."""

    name: str
    rows: int
    columns: list[tuple[str, str | None]]


def _ply(file: BinaryIO) -> np.ndarray:
    """The `vertex` element (Turk, "The PLY polygon file format", 1994)."""
    order, elements = _ply_header(file)
    for element in elements:
        names = [name for name, _ in element.columns]
        if element.name == "vertex" and not {"x", "y", "z"} <= set(names):
            raise ValueError(f"its vertices have {', '.join(names)}; expected x, y and z")
        if any(kind is None for _, kind in element.columns):
            raise ValueError(f"its '{element.name}' has a list and comes before or among the vertices")
        rows = _ascii(file, element) if order == "ascii" else _binary(file, element, ORDERS[order])
        if element.name == "vertex":
            features = [name for name in names if name not in ("x", "y", "z")]
            return rows[:, [names.index(name) for name in ("x", "y", "z", *features)]]
    raise ValueError("it has no vertices")


def _binary(file: BinaryIO, element: _Element, order: str) -> np.ndarray:
    kinds = [order + str(kind) for _, kind in element.columns]
    row = np.dtype([(str(place), kind) for place, kind in enumerate(kinds)])
    rows = np.frombuffer(_exactly(file, element.rows, row.itemsize), row)
    return np.stack([rows[field].astype(np.float32) for field in row.names or ()], axis=1)


def _ascii(file: BinaryIO, element: _Element) -> np.ndarray:
    """A row a line. Every line is at least as many bytes as it has columns, so the file bounds what is allocated."""
    rows = []
    for number in range(element.rows):
        words = file.readline(MAX_LINE).split()
        if len(words) != len(element.columns):
            found = f"row {number} of '{element.name}' has {len(words)} numbers, not {len(element.columns)}"
            raise ValueError(f"{found}; it is cut short or damaged")
        rows.append([float(word) for word in words])
    return np.array(rows, np.float32).reshape(-1, len(element.columns))


def _ply_header(file: BinaryIO) -> tuple[str, list[_Element]]:
    """The order of bytes, and the elements up to the vertices."""
    order, elements = "", list[_Element]()
    for _ in range(MAX_LINES):
        words = file.readline(MAX_LINE).decode("ascii", "replace").split()
        match words:
            case ["end_header"]:
                if order not in ORDERS:
                    raise ValueError(f"its format is {order!r}; expected one of {', '.join(ORDERS)}")
                places = [place for place, element in enumerate(elements) if element.name == "vertex"]
                return order, elements[: places[0] + 1] if places else []
            case ["format", order, _]:
                pass
            case ["element", name, count]:
                elements.append(_Element(name, _count(count), []))
            case ["property", "list", _, _, name] if elements:
                elements[-1].columns.append((name, None))
            case ["property", kind, name] if elements and kind in PLY_TYPES:
                elements[-1].columns.append((name, PLY_TYPES[kind]))
            case ["ply"] | ["comment", *_] | ["obj_info", *_]:
                pass
            case _:
                raise ValueError(f"its header has the line {' '.join(words)[:80]!r}")
    raise ValueError("its header has no end")


def _count(word: str) -> int:
    if not word.isdecimal() or len(word) > 12:
        raise ValueError(f"it says that an element has {word[:20]!r} rows")
    return int(word)
