"""Pictures: opened late, from any reference, always RGB, always upright, errors with a name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from sensorium.errors import DataError
from sensorium.sample import PictureSource

MAX_PIXELS = 64_000_000
"""Pictures above this are refused as decompression bombs."""

TURNS = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
"""What makes a picture of an EXIF orientation upright."""


def open_picture(source: PictureSource, name: str = "picture") -> PILImage.Image:
    """Decode to RGB: orientation applied, transparency on white. A `DataError` names what cannot be read."""
    with _blamed(source, name):
        if not isinstance(source, str | Path | bytes):
            return to_rgb(source.open())
        with _lazy(source, name) as picture:
            turn = TURNS.get(_orientation(picture))
            picture.load()
            return to_rgb(picture if turn is None else picture.transpose(turn))


def picture_size(source: PictureSource, name: str = "picture") -> tuple[int, int]:
    """(width, height) as `open_picture` will return it, read from the header alone."""
    with _blamed(source, name):
        if not isinstance(source, str | Path | bytes):
            return source.size
        with _lazy(source, name) as picture:
            width, height = picture.size
            turned = _orientation(picture) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


@contextmanager
def _blamed(source: PictureSource, name: str) -> Iterator[None]:
    """Whatever a decoder or a `Picture`'s own code stumbles over is the sample's fault and must not end a run."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if not isinstance(source, str | Path | bytes):
            what = f"cannot open its {type(source).__name__}: {type(error).__name__}: {error}"
            raise DataError(f"{name}: {what}; correct or remove the sample, or the code that opens it") from error
        raise DataError(f"{name}: cannot decode {_where(source)}: {error}; re-save or remove the file") from None


def _orientation(picture: PILImage.Image) -> int:
    """The EXIF orientation that decoding leaves as it is, from the header alone: a PNG's own `getexif` decodes it."""
    if picture.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        return PILImage.Image.getexif(picture).get(0x0112, 1)
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1


def to_rgb(picture: PILImage.Image) -> PILImage.Image:
    """Any mode to RGB; transparent pixels become white; 16-bit grey is scaled, not clipped."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = np.asarray(picture).astype(np.float32)
        picture = PILImage.fromarray((grey / 257).clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = PILImage.new("RGBA", picture.size, "white")
        picture = PILImage.alpha_composite(white, picture)
    return picture.convert("RGB")


def _lazy(source: str | Path | bytes, name: str) -> PILImage.Image:
    try:
        picture = PILImage.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except FileNotFoundError:
        raise DataError(f"{name}: no file {source}; check the path") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_where(source)} is no picture of a known format; re-save or remove it") from None
    except Exception as error:
        raise DataError(f"{name}: {_where(source)} is not a readable picture ({error}); re-save or remove it") from None
    width, height = picture.size
    if width * height > MAX_PIXELS or not width * height:
        raise DataError(f"{name}: {_where(source)} is {width} x {height} pixels; between 1 and {MAX_PIXELS} are read")
    return picture


def _where(source: str | Path | bytes) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
