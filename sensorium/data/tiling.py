"""From a picture of any size to tiles of the encoder's size, with the count known before any pixel is decoded."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image as PILImage

from sensorium.config import Part, PartConfig

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TilePlan:
    """How a picture is cut: `rows` x `columns` tiles, preceded by a thumbnail of the whole if `thumbnail`."""

    rows: int = 1
    columns: int = 1
    thumbnail: bool = False

    @property
    def tiles(self) -> int:
        return self.rows * self.columns + self.thumbnail


@dataclass(frozen=True)
class Cut:
    """A picture of `size` (width, height) pixels, and how it is cut."""

    size: tuple[int, int]
    plan: TilePlan


class Tiling(Part, family="tiling", package="sensorium.data.tilings"):
    """`plan` decides from the size alone, `cut` follows the plan; both see the encoder's input size (width, height)."""

    class Config(PartConfig):
        @property
        def max_tiles(self) -> int:
            """An upper bound of `TilePlan.tiles`, and the number of distinct tile positions."""
            return 1

    def __init__(self, config: Config, input_size: tuple[int, int]) -> None:
        self.config, self.input_size = config, input_size

    @abstractmethod
    def plan(self, size: tuple[int, int]) -> TilePlan:
        """The plan for a picture of `size` (width, height) pixels."""

    @abstractmethod
    def cut(self, picture: PILImage.Image, plan: TilePlan) -> np.ndarray:
        """uint8 `[plan.tiles, 3, height, width]`."""

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        """What each tile shows of a picture of `size`: (left, top, right, bottom) in parts of the picture's width and
        height, less than 0 or more than 1 where the tile is padding. By default tiles divide the picture evenly; a
        tiling that pads or crops has to say so here."""
        return [WHOLE] * plan.thumbnail + divided(WHOLE, plan)

    def positions(self, plan: TilePlan) -> list[int]:
        """A place number below `max_tiles` for each tile of the plan."""
        return list(range(plan.tiles))


def divided(view: Box, plan: TilePlan) -> list[Box]:
    """What the tiles of a plan show, row by row, if together they show `view`."""
    left, top, right, bottom = view
    wide, high = (right - left) / plan.columns, (bottom - top) / plan.rows
    corners = [(left + c * wide, top + r * high) for r in range(plan.rows) for c in range(plan.columns)]
    return [(x, y, x + wide, y + high) for x, y in corners]


def padded_view(size: tuple[int, int], canvas: tuple[int, int]) -> Box:
    """What a canvas shows of a picture of `size` that `pad_to` has put there."""
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    wide, high = canvas[0] / (size[0] * scale), canvas[1] / (size[1] * scale)
    return (1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2


def resized(picture: PILImage.Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[height, width, 3]` at `size` (width, height): bicubic and antialiased, as Pillow does it but for rounding
    (two levels of 255 at most), by torch, whose vectorised code takes a quarter of the time."""
    array = np.asarray(picture, dtype=np.uint8)
    if picture.size == size:
        return array
    import torch  # not with the module: laying samples out needs no torch, cutting their pictures does

    given = torch.from_numpy(array.copy()).permute(2, 0, 1)[None]
    made = torch.nn.functional.interpolate(given, size=(size[1], size[0]), mode="bicubic", antialias=True)
    return made[0].permute(1, 2, 0).numpy()


def pad_to(picture: PILImage.Image, size: tuple[int, int], fill: tuple[int, int, int]) -> np.ndarray:
    """uint8 `[height, width, 3]`: made to fit inside `size` with the aspect ratio kept, centred on `fill`."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    wide, high = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    left, top = (size[0] - wide) // 2, (size[1] - high) // 2
    canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
    canvas[:] = fill
    canvas[top : top + high, left : left + wide] = resized(picture, (wide, high))
    return canvas


def to_tiles(canvas: np.ndarray, rows: int = 1, columns: int = 1) -> np.ndarray:
    """uint8 `[height, width, 3]` to `[rows * columns, 3, height / rows, width / columns]`, row by row."""
    height, width, _ = canvas.shape
    tiles = canvas.reshape(rows, height // rows, columns, width // columns, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(rows * columns, 3, height // rows, width // columns)
