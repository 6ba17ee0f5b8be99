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
    width, height = image.size
    face = font(writing.font, max(8, round(_HEIGHT * min(width, height))))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), writing.text, font=face)
    at = (round(writing.x * width - (left + right) / 2), round(writing.y * height - (top + bottom) / 2))
    # Bold is drawn twice, one pixel apart: no font that ships with Pillow has a bold cut.
    for shift in range(1 + writing.bold * max(1, round(min(width, height) / 128))):
        draw.text((at[0] + shift, at[1]), writing.text, fill=_INK, font=face)


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
