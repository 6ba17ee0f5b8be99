"""Pictures: opened late, from any reference, always RGB, always upright, errors with a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from sensorium.data.media import open_bytes, reading, where
from sensorium.errors import DataError
from sensorium.sample import MediaSource, Picture, PictureSource

if TYPE_CHECKING:
    from typing_extensions import TypeIs

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
"""What is read. Pillow knows more, of which some start other programs and few are tested against damage here."""
MAX_PIXELS = 64_000_000
"""Pictures above this are refused as decompression bombs."""
MAX_ASPECT: float = 200
"""Pictures longer than this many times their other side are refused: a model would see lines."""

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
    """Decode to RGB: orientation applied, transparency on white, the first picture of an animation. A `DataError`
    names what cannot be read whole."""
    if _opens(source):
        with _own_code(source, name):
            return to_rgb(source.open())
    with reading(source, name), open_bytes(source, name) as file:
        with _lazy(file, source, name) as picture:
            if picture.format == "PNG":
                picture.verify()  # checksums, which decoding passes over; the picture is spent after it
        with _lazy(file, source, name) as picture:
            turn = TURNS.get(_orientation(picture))
            picture.load()
            return to_rgb(picture if turn is None else picture.transpose(turn))


def picture_size(source: PictureSource, name: str = "picture") -> tuple[int, int]:
    """(width, height) as `open_picture` will return it, read from the header alone."""
    if _opens(source):
        with _own_code(source, name):
            return source.size
    with reading(source, name), open_bytes(source, name) as file, _lazy(file, source, name) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) in (5, 6, 7, 8) else (width, height)


def _opens(source: PictureSource) -> TypeIs[Picture]:
    """Whether a reference decodes itself. `isinstance` would look at its size too, which may cost a read."""
    return not isinstance(source, str | Path | bytes) and hasattr(source, "open")


@contextmanager
def _own_code(source: Picture, name: str) -> Iterator[None]:
    """Whatever a `Picture`'s own code stumbles over is the sample's fault and must not end a run."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        what = f"cannot open its {type(source).__name__}: {type(error).__name__}: {error}"
        raise DataError(f"{name}: {what}; correct or remove the sample, or the code that opens it") from error


def _lazy(file: BinaryIO, source: MediaSource, name: str) -> PILImage.Image:
    """The picture of a file, with only its header read."""
    file.seek(0)
    try:
        picture = PILImage.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise DataError(
            f"{name}: {where(source)} is no picture of a known format ({known}); re-save or remove it"
        ) from None
    check_size(picture.size, f"{name}: {where(source)}")
    return picture


def check_size(size: tuple[int, int], name: str) -> None:
    """A `DataError` for a picture of no pixels, of too many, or too long and narrow."""
    width, height = size
    if width * height > MAX_PIXELS or not width * height:
        raise DataError(f"{name} is {width} x {height} pixels; between 1 and {MAX_PIXELS} are read")
    if max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{name} is {width} x {height} pixels, longer than {MAX_ASPECT:g} : 1; crop or remove it")


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
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed black and white; save it as 8 or 16 bit")
    if picture.mode.startswith("I"):
        picture = _grey(picture)
    if picture.mode == "LAB":
        return _from_lab(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PILImage.new("RGBA", picture.size, "white")
        picture = PILImage.alpha_composite(white, picture)
    return picture.convert("RGB")


def _grey(picture: PILImage.Image) -> PILImage.Image:
    """16-bit grey as 8-bit; the one value that a PNG declares to be transparent becomes white."""
    grey = np.asarray(picture).astype(np.float32)
    grey[grey == picture.info.get("transparency")] = 0xFFFF
    return PILImage.fromarray((grey / 257).clip(0, 255).astype(np.uint8))


def _from_lab(picture: PILImage.Image) -> PILImage.Image:
    from PIL import ImageCms  # not in every build of Pillow

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(*profiles, "LAB", "RGB").apply(picture)
