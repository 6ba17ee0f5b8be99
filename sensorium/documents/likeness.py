"""Pictures that look the same: difference hashes, and an index that finds the near ones without comparing all."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as PILImage

SIDE = 8
BITS = 2 * SIDE**2
STEP = 4
"""Grey levels by which a part of a picture is lighter than its neighbour: less is noise, of paper and of JPEG."""
PLAIN = 8
"""With fewer bits set than this, a picture has no look."""


@dataclass(frozen=True)
class Print:
    """What a picture is known by: the hash of its pixels, and its look; None of a plain one."""

    pixels: bytes
    look: int | None

    def exactly(self) -> Print:
        return replace(self, look=None)


def print_of(picture: PILImage.Image) -> Print:
    """The print of an RGB picture. `look` is its difference hash, to the right and downwards: of 8 x 8 grey parts,
    whether each is lighter than the next one (after N. Krawetz, "Kind of like that", 2013)."""
    pixels = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).digest()[:16]
    small = picture.convert("L").resize((SIDE + 1, SIDE + 1), PILImage.Resampling.BOX)
    grey = np.asarray(small, dtype=np.int16)
    right, down = grey[:-1, :-1] - grey[:-1, 1:], grey[:-1, :-1] - grey[1:, :-1]
    look = int.from_bytes(np.packbits(np.stack([right, down]) > STEP).tobytes(), "big")
    return Print(pixels, look if look.bit_count() >= PLAIN else None)


class LikenessIndex:
    """Prints, found again by others whose looks differ in at most `distance` bits.

    Bits are parted in `distance + 1` bands, so that near looks agree in one band at least; those with a band in common
    are compared. With looks spread evenly a search among n costs n / 2**(128 / (distance + 1)) comparisons a band.
    """

    def __init__(self, distance: int) -> None:
        self.distance = distance
        self.exact: dict[bytes, Print] = {}
        self.bands: defaultdict[tuple[int, int], list[Print]] = defaultdict(list)

    def add(self, one: Print) -> None:
        self.exact[one.pixels] = one
        for band in self._bands(one):
            self.bands[band].append(one)

    def find(self, one: Print) -> Print | None:
        """The first print that was added and is the same, or else near."""
        if one.pixels in self.exact:
            return self.exact[one.pixels]
        near = (other for band in self._bands(one) for other in self.bands.get(band, ()) if self._is_near(one, other))
        return next(near, None)

    def _is_near(self, one: Print, other: Print) -> bool:
        assert one.look is not None
        assert other.look is not None
        return (one.look ^ other.look).bit_count() <= self.distance

    def _bands(self, one: Print) -> Iterator[tuple[int, int]]:
        if one.look is not None:
            width = -(-BITS // (self.distance + 1))
            for band in range(self.distance + 1):
                yield band, one.look >> band * width & (1 << width) - 1
