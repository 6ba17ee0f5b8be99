"""Writing in pictures: fonts that ship with packages, at any size."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sensorium.data.worlds.scene import Writing
from sensorium.errors import ConfigError

_FILES = {"dejavu-sans": "DejaVuSans.ttf", "dejavu-serif": "DejaVuSerif.ttf", "dejavu-mono": "DejaVuSansMono.ttf"}
_INK = (244, 244, 238)
_HEIGHT = 0.19


def write(image: Image.Image, writing: Writing) -> None:
    """Draw the word or number onto the picture, in place."""
    face, (x, y), _ = _set(writing, image.size)
    draw = ImageDraw.Draw(image)
    # Bold is drawn twice, one pixel apart: no font that ships with Pillow has a bold cut.
    for shift in range(_strokes(writing, image.size)):
        draw.text((x + shift, y), writing.text, fill=_INK, font=face)


def extent(writing: Writing, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of the writing in a picture of `size`, in pixels, the ends exclusive."""
    _, (x, y), (left, top, right, bottom) = _set(writing, size)
    return x + left, y + top, x + right + _strokes(writing, size) - 1, y + bottom


def _strokes(writing: Writing, size: tuple[int, int]) -> int:
    return 1 + writing.bold * max(1, round(min(size) / 128))


def _set(writing: Writing, size: tuple[int, int]) -> tuple[Any, tuple[int, int], tuple[int, int, int, int]]:
    """The font, where the pen starts, and the box of the letters relative to that."""
    face = font(writing.font, max(8, round(_HEIGHT * min(size))))
    left, top, right, bottom = (round(side) for side in face.getbbox(writing.text))
    x, y = round(writing.x * size[0] - (left + right) / 2), round(writing.y * size[1] - (top + bottom) / 2)
    return face, (x, y), (left, top, right, bottom)


@lru_cache(maxsize=64)
def font(name: str, size: int) -> Any:
    """A font at a size in pixels: "aileron" comes with Pillow, the DejaVu family with matplotlib.

    Raises `ConfigError` if the package that ships the font is not installed.
    """
    if name == "aileron":
        return ImageFont.load_default(size)
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ConfigError(f"the font '{name}' ships with matplotlib, which is not installed: use fonts=['aileron']")
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / _FILES[name]), size)
