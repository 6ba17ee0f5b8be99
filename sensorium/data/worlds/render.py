"""The visual senses of a scene: its picture, and the boxes, masks and depth that go with it, at any resolution."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from sensorium.data.worlds.backdrop import backdrop
from sensorium.data.worlds.lettering import write
from sensorium.data.worlds.scene import Scene, Thing

RGB: dict[str, tuple[int, int, int]] = {
    "red": (230, 25, 35),
    "green": (30, 170, 50),
    "blue": (40, 80, 250),
    "yellow": (255, 225, 25),
    "purple": (165, 40, 200),
    "orange": (255, 130, 0),
    "cyan": (60, 225, 235),
    "white": (255, 255, 255),
}
_SHADE = 0.58
_OVERSAMPLE = 4
_GRAIN = 64


@dataclass(frozen=True, slots=True)
class SceneView:
    """A scene seen at a resolution: the `Picture` that samples carry, rendered only when opened."""

    scene: Scene
    size: tuple[int, int]

    def open(self) -> Image.Image:
        """Render the picture, in RGB."""
        return picture(self.scene, self.size)


def picture(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """The scene as an RGB picture of (width, height)."""
    image = backdrop(scene.background, size)
    for thing in sorted(scene.objects, key=lambda thing: -thing.depth):
        diameter, corner = _footprint(thing, size)
        colour = tuple(int(level * thing.tint) for level in RGB[thing.colour])
        image.paste(colour, corner, silhouette(thing.shape, diameter))
        if thing.texture != "plain":
            dark = tuple(int(level * _SHADE) for level in colour)
            image.paste(dark, corner, _marks(thing.shape, diameter, thing.texture))
    if scene.writing is not None:
        write(image, scene.writing)
    if scene.noise:
        x, y = scene.grain
        grain = _grain_sheet(size, scene.noise).crop((x, y, x + size[0], y + size[1]))
        image = ImageChops.add(image, grain, 1, -128)
    return image


def boxes(scene: Scene, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """For every object the tight box (left, top, right, bottom) in pixels, right and bottom exclusive, as if nothing
    stood before it."""
    result = []
    for thing in scene.objects:
        diameter, (x, y) = _footprint(thing, size)
        left, top, right, bottom = _solid_box(thing.shape, diameter)
        result.append((x + left, y + top, x + right, y + bottom))
    return result


def masks(scene: Scene, size: tuple[int, int], visible: bool = True) -> np.ndarray:
    """Boolean [objects, height, width]: the pixels of every object, less those hidden by nearer ones if `visible`."""
    width, height = size
    result = np.zeros((len(scene.objects), height, width), dtype=bool)
    for row, thing in enumerate(scene.objects):
        diameter, (x, y) = _footprint(thing, size)
        solid = np.asarray(silhouette(thing.shape, diameter)) >= 128
        rows, columns = slice(max(y, 0), y + diameter), slice(max(x, 0), x + diameter)
        inside = solid[max(-y, 0) :, max(-x, 0) :]
        result[row, rows, columns] = inside[: height - max(y, 0), : width - max(x, 0)]
    if visible:
        hidden = np.zeros((height, width), dtype=bool)
        for row in sorted(range(len(scene.objects)), key=lambda row: scene.objects[row].depth):
            result[row] &= ~hidden
            hidden |= result[row]
    return result


def depth(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Float32 [height, width]: the depth of the nearest object at every pixel, 1 where there is none."""
    result = np.ones((size[1], size[0]), dtype=np.float32)
    for thing, mask in zip(scene.objects, masks(scene, size), strict=True):
        result[mask] = thing.depth
    return result


@lru_cache(maxsize=1024)
def silhouette(shape: str, diameter: int) -> Image.Image:
    """The opacity ("L") of a shape in a square of `diameter` pixels, with soft edges; not to be written to."""
    side = diameter * _OVERSAMPLE
    canvas = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(canvas)
    if shape == "circle":
        draw.ellipse((0, 0, side - 1, side - 1), fill=255)
    else:
        draw.polygon([((1 + x) * (side - 1) / 2, (1 + y) * (side - 1) / 2) for x, y in _OUTLINES[shape]], fill=255)
    return canvas.reduce(_OVERSAMPLE)


def _star(points: int = 5, inner: float = 0.42) -> list[tuple[float, float]]:
    corners = []
    for step in range(2 * points):
        radius, angle = (1.0 if step % 2 == 0 else inner), math.pi * step / points
        # Moved down a little, because a five-pointed star reaches farther up than down.
        corners.append((1.04 * radius * math.sin(angle), 0.08 - 1.08 * radius * math.cos(angle)))
    return corners


_A = 0.34
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -0.95), (1, 0.9), (-1, 0.9)],
    "diamond": [(0, -1), (0.8, 0), (0, 1), (-0.8, 0)],
    "star": _star(),
    "cross": [
        (-_A, -1), (_A, -1), (_A, -_A), (1, -_A), (1, _A), (_A, _A),
        (_A, 1), (-_A, 1), (-_A, _A), (-1, _A), (-1, -_A), (-_A, -_A),
    ],
}  # fmt: skip


def _footprint(thing: Thing, size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """The diameter in pixels and the top left corner of the object's square."""
    width, height = size
    diameter = max(3, round(thing.diameter * min(width, height)))
    return diameter, (round(thing.x * width - diameter / 2), round(thing.y * height - diameter / 2))


@lru_cache(maxsize=1024)
def _solid_box(shape: str, diameter: int) -> tuple[int, int, int, int]:
    box = silhouette(shape, diameter).point([255 * (level >= 128) for level in range(256)]).getbbox()
    return box or (0, 0, diameter, diameter)


@lru_cache(maxsize=1024)
def _marks(shape: str, diameter: int, texture: str) -> Image.Image:
    """The opacity of the darker stripes or dots on a shape."""
    period = max(4, round(diameter / 4))
    y, x = np.mgrid[0:diameter, 0:diameter]
    if texture == "striped":
        pattern = (y + period // 4) % period < period // 2
    else:
        u, v = (x + period // 2) % period - period / 2 + 0.5, (y + period // 2) % period - period / 2 + 0.5
        pattern = u * u + v * v <= max(1.0, (0.3 * period) ** 2)
    return ImageChops.multiply(silhouette(shape, diameter), Image.fromarray(pattern.astype(np.uint8) * 255))


@lru_cache(maxsize=4)
def _grain_sheet(size: tuple[int, int], level: float) -> Image.Image:
    """Noise around 128 that pictures cut their piece from: near-normal, of standard deviation `255 * level`."""
    width, height = size[0] + _GRAIN, size[1] + _GRAIN
    raw = np.frombuffer(random.Random(20).randbytes(width * height * 3 * 4), np.uint8).reshape(height, width, 3, 4)
    normal = (raw.astype(np.float32).sum(-1) - 4 * 127.5) / 147.8
    return Image.fromarray(np.clip(np.rint(128 + 255 * level * normal), 0, 255).astype(np.uint8))
