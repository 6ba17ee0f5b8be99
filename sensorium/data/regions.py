"""What is known of parts of pictures, carried over to the tiles that show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sensorium.errors import DataError
from sensorium.sample import Image, Region, Sample

if TYPE_CHECKING:
    from sensorium.data.tiling import Box


@dataclass(frozen=True)
class Placed:
    """A region in a tile, with the tokens of its text."""

    tile: int
    box: Box
    ids: tuple[int, ...]


def seen_through(views: Sequence[Box], region: Region) -> Iterable[tuple[int, Box]]:
    """The tiles, of those that show `views` of a picture, that show a region's middle; and its box in each."""
    left, top, right, bottom = region.box
    for tile, (x, y, end, foot) in enumerate(views):
        wide, high = end - x, foot - y
        box = (left - x) / wide, (top - y) / high, (right - x) / wide, (bottom - y) / high
        if 0 <= box[0] + box[2] < 2 and 0 <= box[1] + box[3] < 2:
            yield tile, box


def with_regions(sample: Sample, regions: Sequence[Region]) -> Sample:
    """The sample with the regions of its one picture; a `DataError` if it has none or several."""
    if len(sample.images) != 1:
        raise DataError(f"{sample.name}: has {len(sample.images)} pictures; regions are those of one")
    (only,) = sample.images
    known = replace(only, regions=tuple(regions))
    return replace(sample, segments=tuple(known if isinstance(s, Image) else s for s in sample.segments))


def read_regions(value: Any, size: tuple[int, int], name: str) -> list[Region]:
    """Regions as records hold them: a list of {box, text}, or nothing. A box is (left, top, right, bottom) or a list of
    corners (x, y), as programs that read text give them, in units of which the picture has `size`. A `DataError` that
    begins with `name` for anything else."""
    if value is None:
        return []
    try:
        return [Region(_box(entry["box"], size), str(entry["text"])) for entry in value]
    except (TypeError, ValueError, KeyError, DataError) as error:
        found = f"{repr(value)[:60]} ({error})"
        raise DataError(f"{name} is {found}; expected a list of {{box, text}}, boxes within the picture") from None


def _box(given: Any, size: tuple[int, int]) -> Box:
    corners = given if isinstance(given[0], list | tuple) else (given[:2], given[2:])
    xs, ys = zip(*((float(x) / size[0], float(y) / size[1]) for x, y in corners), strict=True)
    return min(xs), min(ys), max(xs), max(ys)
