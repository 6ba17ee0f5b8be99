"""Scenes: immutable descriptions of a few objects, from which every sense (picture, mask, text, ...) is a function.

A scene knows nothing of pixels or language. Lengths are fractions: positions of the picture's width and height,
diameters of its shorter side, so one scene can be shown at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Shape = Literal["circle", "square", "triangle", "star", "cross", "diamond"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "cyan", "white"]
Size = Literal["small", "large"]
Texture = Literal["plain", "striped", "dotted"]
Backdrop = Literal["plain", "gradient", "noise", "checker"]
Font = Literal["aileron", "dejavu-sans", "dejavu-serif", "dejavu-mono"]
Split = Literal["train", "unseen-scenes", "unseen-combinations", "more-objects", "unseen-backgrounds"]
Pair = tuple[Colour, Shape]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star", "cross", "diamond")
COLOURS: tuple[Colour, ...] = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
SIZES: tuple[Size, ...] = ("small", "large")
TEXTURES: tuple[Texture, ...] = ("plain", "striped", "dotted")
BACKDROPS: tuple[Backdrop, ...] = ("plain", "gradient", "noise", "checker")
UNSEEN_BACKDROPS = ("bands", "rings")
HELD_OUT: frozenset[Pair] = frozenset(
    {
        ("red", "star"),
        ("green", "circle"),
        ("blue", "triangle"),
        ("yellow", "cross"),
        ("purple", "diamond"),
        ("orange", "square"),
    }
)
"""Shown in the split "unseen-combinations" and nowhere else. A matching: no colour and no shape is in two pairs."""

_WORDS = """
ant arm bag bat bed bee bus cap car cat cow cup dog ear egg eye fan fox gem hat hen hut ice ink jam jar key kit
leg lip map mud net nut oak oil owl pan pen pie pig pin pot ram rat saw sea sky sun tea toe top toy van web
"""
WORDS = tuple(_WORDS.split())
"""What may be written in a picture."""
DIAMETERS: dict[Size, tuple[float, float]] = {"small": (0.185, 0.215), "large": (0.33, 0.365)}
"""Least and greatest diameter, in parts of the picture's shorter side."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene. `depth` is 0 at the eye and 1 at the background; nearer things hide farther ones."""

    shape: Shape
    colour: Colour
    size: Size
    texture: Texture
    x: float
    y: float
    diameter: float
    depth: float
    tint: float = 1.0

    @property
    def pair(self) -> Pair:
        """Colour and shape, which most questions name an object by."""
        return (self.colour, self.shape)


@dataclass(frozen=True, slots=True)
class Background:
    """What lies behind: a pattern between two muted colours."""

    kind: str
    variant: int
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Writing:
    """A short word or number in the picture, centred at (x, y)."""

    text: str
    x: float
    y: float
    font: Font
    bold: bool

    @property
    def is_number(self) -> bool:
        """Whether digits are written, and not a word."""
        return self.text.isdigit()


@dataclass(frozen=True, slots=True)
class Scene:
    """A small world. `objects` run from left to right; `focus` is the colour or shape whose number of objects was
    drawn first and evenly, so that "how many" about it has no likely answer."""

    objects: tuple[Thing, ...]
    background: Background
    focus: tuple[Literal["colour", "shape"], str]
    noise: float = 0.0
    grain: tuple[int, int] = (0, 0)
    writing: Writing | None = None

    def count(self, attribute: str, value: str) -> int:
        """How many objects have the attribute ("colour" or "shape") at the value."""
        return sum(getattr(thing, attribute) == value for thing in self.objects)


@dataclass(frozen=True)
class Space:
    """What scenes may consist of. `objects` is the (least, greatest) number of them."""

    colours: tuple[Colour, ...] = COLOURS
    shapes: tuple[Shape, ...] = SHAPES
    textures: tuple[Texture, ...] = TEXTURES
    backgrounds: tuple[str, ...] = BACKDROPS
    fonts: tuple[Font, ...] = ("aileron",)
    objects: tuple[int, int] = (1, 4)
    writing: float = 0.0
    noise: float = 0.02
    split: Split = "train"
    pairs: tuple[Pair, ...] = field(init=False)
    held_out: tuple[Pair, ...] = field(init=False)

    def __post_init__(self) -> None:
        every = [(colour, shape) for colour in self.colours for shape in self.shapes]
        held = tuple(pair for pair in every if pair in HELD_OUT) if self.unusual else ()
        object.__setattr__(self, "pairs", tuple(p for p in every if self.unusual or p not in HELD_OUT))
        object.__setattr__(self, "held_out", held)

    @property
    def unusual(self) -> bool:
        """Whether held-out pairs are shown, at least one in every scene."""
        return self.split == "unseen-combinations"

    def admits(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether a scene of objects with these colours and shapes could be drawn in this split."""
        held = sum(pair in HELD_OUT for pair in pairs)
        return held > 0 if self.unusual else held == 0
