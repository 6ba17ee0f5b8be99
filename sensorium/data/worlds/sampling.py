"""Drawing scenes at random, so that no question about them has a likelier answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.placement import BAND, band, place
from sensorium.data.worlds.scene import (
    DIAMETERS,
    HELD_OUT,
    SIZES,
    UNSEEN_BACKDROPS,
    WORDS,
    Background,
    Pair,
    Scene,
    Size,
    Space,
    Thing,
    Writing,
)


def sample_scene(space: Space, dice: Dice) -> Scene:
    """Draw a scene: what is counted, then colours and shapes, then sizes and places, then the rest."""
    focus, pairs = _sample_pairs(space, dice)
    writing = _sample_writing(space, dice) if dice.chance(space.writing) else None
    sizes: list[Size] = [dice.pick(SIZES) for _ in pairs]
    places = place([dice.span(*DIAMETERS[size]) for size in sizes], *band(writing), dice)
    things = [
        Thing(
            shape, colour, size, dice.pick(space.textures), *spot, round(dice.span(0.05, 0.95), 3), dice.span(0.85, 1)
        )
        for (colour, shape), size, spot in zip(pairs, sizes, places, strict=True)
    ]
    things.sort(key=lambda thing: thing.x)
    grain = (dice.below(64), dice.below(64))
    return Scene(tuple(things), _sample_background(space, dice), focus, space.noise, grain, writing)


def _sample_pairs(space: Space, dice: Dice) -> tuple[tuple[Literal["colour", "shape"], str], list[Pair]]:
    """Colours and shapes such that the number of objects with the focus is uniform from 0 to the greatest."""
    least, most = space.objects
    counted = dice.below(most + 1)
    if space.split == "more-objects":
        least, most = most + 1, most + 2
    number = dice.between(max(least, counted), most)
    axis: Literal[0, 1] = 0 if dice.chance(0.5) else 1
    values = sorted({pair[axis] for pair in space.held_out or space.pairs})
    value = dice.pick(values)
    pools = _pools(space.pairs, axis, value)
    chosen = [dice.pick(pools[position >= counted]) for position in range(number)]
    if space.unusual and not any(pair in HELD_OUT for pair in chosen):
        position = dice.below(number)
        chosen[position] = dice.pick(_pools(space.held_out, axis, value)[position >= counted])
    return ("colour" if axis == 0 else "shape", value), dice.shuffled(chosen)


@lru_cache(maxsize=1024)
def _pools(pairs: tuple[Pair, ...], axis: int, value: str) -> tuple[list[Pair], list[Pair]]:
    """The pairs with the value, and those without it."""
    return [pair for pair in pairs if pair[axis] == value], [pair for pair in pairs if pair[axis] != value]


def _sample_background(space: Space, dice: Dice) -> Background:
    kind = dice.pick(UNSEEN_BACKDROPS if space.split == "unseen-backgrounds" else space.backgrounds)
    base = dice.between(38, 96)
    # Muted: the channels stay close together, far from every object's saturated colour and from white.
    first, second = (tuple(max(0, level + dice.between(-14, 14)) for _ in range(3)) for level in (base, base + 26))
    return Background(kind, dice.below(8), (first, second))  # type: ignore[arg-type]


def _sample_writing(space: Space, dice: Dice) -> Writing:
    text = dice.pick(WORDS) if dice.chance(0.5) else str(dice.between(10, 99))
    y = BAND / 2 if dice.chance(0.5) else 1 - BAND / 2
    return Writing(text, dice.span(0.3, 0.7), y, dice.pick(space.fonts), dice.chance(0.5))
