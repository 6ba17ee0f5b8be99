"""Files of CTranslate2, a runtime for transformers: named arrays one after the other, without pickle."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import ConfigError

VERSION = 6
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
"""By their numbers in the file; bfloat16, which is 5, has no type of numpy's and is refused with what else there is."""


def read_ctranslate2(file: Path, kind: str) -> dict[str, Tensor]:
    """All arrays of a model of `kind` ('WhisperSpec'), 16-bit floats as float32. A `ConfigError` for another file."""
    with file.open("rb") as opened:
        try:
            return _read(opened, kind)
        except (struct.error, ValueError) as error:
            raise ConfigError(f"{file}: no model of CTranslate2, or cut short: {error}") from None


def _read(file: BinaryIO, kind: str) -> dict[str, Tensor]:
    version = _number(file, "I")
    if version != VERSION:
        raise ValueError(f"it begins with version {version}, and {VERSION} is read")
    if (found := _name(file)) != kind:
        raise ValueError(f"it is a {found!r}, not a {kind!r}")
    _number(file, "I")  # the revision of that kind
    arrays = {}
    for _ in range(_number(file, "I")):
        name = _name(file)
        shape = [_number(file, "I") for _ in range(_number(file, "B"))]
        number, size = _number(file, "B"), _number(file, "I")
        if number >= len(TYPES):
            raise ValueError(f"{name} is of type {number}, which is not read; convert to float16 or float32")
        values = np.frombuffer(file.read(size), TYPES[number]).reshape(shape)
        arrays[name] = torch.from_numpy(
            values.astype(np.float32) if number == TYPES.index(np.float16) else values.copy()
        )
    return arrays


def _number(file: BinaryIO, form: str) -> int:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()
