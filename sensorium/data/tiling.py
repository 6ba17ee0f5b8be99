"""From a picture of any size to tiles of the encoder's size, with the count known before any pixel is decoded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from PIL import Image as PILImage

from sensorium.config import Part, PartConfig
from sensorium.data.frames import open_all
from sensorium.data.images import picture_size
from sensorium.sample import Image, Segment

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
T = TypeVar("T")


@dataclass(frozen=True)
class TilePlan:
    """How a picture is cut: `rows` x `columns` cells, and a thumbnail of the whole before them if `thumbnail`."""

    rows: int = 1
    columns: int = 1
    thumbnail: bool = False
    thumbnail_last: bool = False
    """the thumbnail, if there is one, comes behind the cells"""
    padded: bool = False
    """the cells show the picture with its aspect kept, in the middle of padding; otherwise it fills them"""

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @property
    def tiles(self) -> int:
        return self.cells + self.thumbnail

    @property
    def first_cell(self) -> int:
        """The number of the first cell among the tiles."""
        return int(self.thumbnail and not self.thumbnail_last)

    def ordered(self, thumbnail: T, cells: Sequence[T]) -> list[T]:
        """What there is of each tile, in the order of the tiles: the thumbnail's, if there is one, in its place."""
        if not self.thumbnail:
            return list(cells)
        return [*cells, thumbnail] if self.thumbnail_last else [thumbnail, *cells]


@dataclass(frozen=True)
class Cut:
    """A picture of `size` (width, height) pixels, or a sound of `size` (samples, 1), and how it is cut."""

    size: tuple[int, int]
    plan: TilePlan


class Tiling(Part, family="tiling", package="sensorium.data.tilings"):
    """`plan` decides from the size alone, `cut` follows the plan; both see the encoder's input size (width, height).

    What is read are pictures, unless a tiling says otherwise: then it overrides all up to `cut`."""

    reads: ClassVar[type[Segment]] = Image

    class Config(PartConfig):
        @property
        def rate(self) -> int | None:
            """Samples a second, of a sound."""
            return None

        @property
        def max_tiles(self) -> int:
            """An upper bound of `TilePlan.tiles`, and the number of distinct tile positions."""
            return 1

    def __init__(self, config: Config, input_size: tuple[int, int]) -> None:
        self.config, self.input_size = config, input_size

    def size_of(self, segment: Any, name: str) -> tuple[int, int]:
        """The size of what `segment` refers to, from its header where that says it."""
        return picture_size(segment.source, segment.id or name)

    def opened(self, segments: Sequence[Any], name: str) -> Iterator[Any]:
        """What the segments refer to, decoded, in order: what `cut` takes."""
        return open_all(segments, name)

    def measured(self, opened: Any) -> tuple[int, int]:
        """The size of what was opened."""
        return opened.size

    def blank(self) -> np.ndarray:
        """No tiles: `[0, channels, height, width]`, of the type that tiles have."""
        return np.zeros((0, 3, *self.input_size[::-1]), dtype=np.uint8)

    @abstractmethod
    def plan(self, size: tuple[int, int]) -> TilePlan:
        """The plan for a picture of `size` (width, height) pixels."""

    def cut(self, picture: Any, plan: TilePlan) -> np.ndarray:
        """uint8 `[plan.tiles, 3, height, width]`. By default the picture is stretched over the cells."""
        width, height = self.input_size
        cells = to_tiles(resized(picture, (width * plan.columns, height * plan.rows)), plan.rows, plan.columns)
        return self.joined(plan, lambda: to_tiles(resized(picture, self.input_size)), cells)

    def joined(self, plan: TilePlan, thumbnail: Callable[[], np.ndarray], cells: np.ndarray) -> np.ndarray:
        """`cells` `[plan.cells, 3, height, width]` with the thumbnail, which is made if the plan has one."""
        if not plan.thumbnail:
            return cells
        return np.concatenate([cells, thumbnail()] if plan.thumbnail_last else [thumbnail(), cells])

    def views(self, size: tuple[int, int], plan: TilePlan) -> list[Box]:
        """What each tile shows of a picture of `size`: (left, top, right, bottom) in parts of the picture's width and
        height, less than 0 or more than 1 where the tile is padding. By default tiles divide the picture evenly; a
        tiling that pads or crops has to say so here."""
        return plan.ordered(WHOLE, divided(WHOLE, plan))

    def positions(self, plan: TilePlan) -> list[int]:
        """A place number below `max_tiles` for each tile of the plan. By default 0 is the thumbnail's or that of the
        only tile, and the cells are numbered through."""
        return plan.ordered(0, range(1, plan.tiles)) if plan.thumbnail else list(range(plan.tiles))


def divided(view: Box, plan: TilePlan) -> list[Box]:
    """What the cells of a plan show, row by row, if together they show `view`."""
    left, top, right, bottom = view
    wide, high = (right - left) / plan.columns, (bottom - top) / plan.rows
    corners = [(left + c * wide, top + r * high) for r in range(plan.rows) for c in range(plan.columns)]
    return [(x, y, x + wide, y + high) for x, y in corners]


def padded_view(size: tuple[int, int], canvas: tuple[int, int], whole: Callable[[float], int] = round) -> Box:
    """What a canvas shows of a picture of `size` that `pad_to` has put there."""
    left, top, wide, high = _placed(size, canvas, whole)
    return -left / wide, -top / high, (canvas[0] - left) / wide, (canvas[1] - top) / high


def _placed(size: tuple[int, int], canvas: tuple[int, int], whole: Callable[[float], int]) -> tuple[int, int, int, int]:
    """Where a picture of `size` is put on a canvas: left, top, width, height."""
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    wide, high = (min(max(1, whole(size[side] * scale)), canvas[side]) for side in (0, 1))
    return (canvas[0] - wide) // 2, (canvas[1] - high) // 2, wide, high


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


def pad_to(
    picture: PILImage.Image,
    size: tuple[int, int],
    fill: tuple[int, int, int],
    whole: Callable[[float], int] = round,
) -> np.ndarray:
    """uint8 `[height, width, 3]`: made to fit inside `size` with the aspect ratio kept, centred on `fill`. `whole`
    makes pixels of what is no whole number of them."""
    left, top, wide, high = _placed(picture.size, size, whole)
    canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
    canvas[:] = fill
    canvas[top : top + high, left : left + wide] = resized(picture, (wide, high))
    return canvas


def to_tiles(canvas: np.ndarray, rows: int = 1, columns: int = 1) -> np.ndarray:
    """uint8 `[height, width, 3]` to `[rows * columns, 3, height / rows, width / columns]`, row by row."""
    height, width, _ = canvas.shape
    tiles = canvas.reshape(rows, height // rows, columns, width // columns, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(rows * columns, 3, height // rows, width // columns)
