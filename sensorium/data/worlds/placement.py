"""Where objects may stand: inside the picture, clear of each other and of the writing."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.scene import Thing, Writing

BAND = 0.2
"""The part of the picture's height that writing has to itself, at the top or at the bottom."""
_GAP = 1.06


def place(diameters: list[float], low: float, high: float, dice: Dice) -> list[tuple[float, float, float]]:
    """(x, y, diameter) for every object such that their circles do not touch; crowded scenes shrink all alike."""
    order = sorted(range(len(diameters)), key=lambda i: -diameters[i])
    scale, attempt = 1.0, 0
    while True:
        placed = _try_to_place([diameters[i] * scale for i in order], low, high, dice)
        if placed is not None:
            return [place for _, place in sorted(zip(order, placed, strict=True))]
        attempt += 1
        if attempt % 8 == 0:
            scale *= 0.95


def fits(thing: Thing, others: Sequence[Thing], writing: Writing | None = None) -> bool:
    """Whether the thing stands inside the picture, clear of the others and of the writing."""
    radius = thing.diameter / 2
    low, high = band(writing)
    if not (radius <= thing.x <= 1 - radius and low + radius <= thing.y <= high - radius):
        return False
    return all(
        (thing.x - other.x) ** 2 + (thing.y - other.y) ** 2 >= ((thing.diameter + other.diameter) * _GAP / 2) ** 2
        for other in others
    )


def band(writing: Writing | None) -> tuple[float, float]:
    """The heights between which objects may stand."""
    return (0.0, 1.0) if writing is None else (BAND, 1.0) if writing.y < 0.5 else (0.0, 1.0 - BAND)


def _try_to_place(
    diameters: list[float], low: float, high: float, dice: Dice
) -> list[tuple[float, float, float]] | None:
    unit = dice.unit
    placed: list[tuple[float, float, float]] = []
    for diameter in diameters:
        free = 1.0 - diameter
        for _ in range(10):
            x = diameter / 2 + unit() * free
            y = low + diameter / 2 + unit() * (high - low - diameter)
            for a, b, other in placed:
                if (x - a) ** 2 + (y - b) ** 2 < ((diameter + other) * _GAP / 2) ** 2:
                    break
            else:
                placed.append((x, y, diameter))
                break
        else:
            return None
    return placed
