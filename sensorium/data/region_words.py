"""Where parts of pictures are, in words: the forms of BLIP3-OCR and BLIP3-GROUNDING (xGen-MM, arXiv 2408.08872, section
5.1; the exact strings are those of its figures 3 and 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

from sensorium.sample import Region

Level = Literal[1, 2, 3, 4, 5, 6]
"""Of BLIP3-OCR: the text alone, its place in words, in fractions, a rough box, an exact box, marked up."""
Form = Literal["box", "extent", "place", "fine"]
"""Of BLIP3-GROUNDING: coordinates between marks, coordinates in words, a place in words, object and box marked up."""
Box = tuple[float, float, float, float]

PLACES = (
    ("at the top left corner", "above the center", "at the top right corner"),
    ("to the left of the center", "in the center", "to the right of the center"),
    ("at the bottom left corner", "below the center", "at the bottom right corner"),
)
"""The thirds of a picture. The published samples show six of them; the other three are said alike."""
DENOMINATOR = 20
"""The greatest of a fraction. In the published sample a middle at 0.12 is at 2/17, so it is at least 17 there, and at
most 24, since 3/25 would be exact."""


def seen(region: Region) -> Box:
    """The part of a region's box that is in the picture."""
    left, top, right, bottom = (min(max(0.0, side), 1.0) for side in region.box)
    return left, top, right, bottom


def middle(box: Box) -> tuple[float, float]:
    """(x, y)"""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2


def place(box: Box) -> str:
    """The third of the picture in which the middle of a box is, such as "above the center"."""
    x, y = middle(box)
    return PLACES[min(2, int(3 * y))][min(2, int(3 * x))]


def fraction(part: float) -> str:
    """The nearest fraction with a small denominator: "2/17" for 0.12."""
    return str(Fraction(part).limit_denominator(DENOMINATOR))


def corners(box: Box, digits: int = 3) -> tuple[str, str]:
    """ "[x, y]" of the upper left and of the lower right corner."""
    left, top, right, bottom = (f"{side:.{digits}f}" for side in box)
    return f"[{left}, {top}]", f"[{right}, {bottom}]"


def marked(kind: str, text: str, box: Box) -> str:
    """ "<ocr>STOP</ocr><bbox>[0.100, 0.200][0.300, 0.400]</bbox>" for the kind "ocr"."""
    return f"<{kind}>{text}</{kind}><bbox>{''.join(corners(box))}</bbox>"


def ocr_place(box: Box, level: Level) -> str:
    """What a level from 2 to 5 says of where a text is."""
    if level == 2:
        return f"located {place(box)}"
    if level == 3:
        x, y = map(fraction, middle(box))
        return f"located at {y} of the image from top to bottom and {x} of the image from left to right"
    start, end = corners(box, digits=1 if level == 4 else 3)
    return f"{'approximately ' if level == 4 else ''}starts at {start} and extends up to {end}"


def ocr(region: Region, level: Level) -> str:
    """A text by itself, such as `"STOP" located in the center`."""
    if level == 6:
        return marked("ocr", region.text, seen(region))
    return f'"{region.text}"' + ("" if level == 1 else f" {ocr_place(seen(region), level)}")


def ocr_mention(said: str, region: Region, level: Level) -> str:
    """A mention of a text in a caption, and in parentheses where it is."""
    if level in (1, 6):
        return said if level == 1 else marked("ocr", said, seen(region))
    return f"{said} ({ocr_place(seen(region), level)})"


def grounded(said: str, region: Region, form: Form) -> str:
    """A mention of an object, and in parentheses where it is; marked up if `fine`."""
    box = seen(region)
    if form == "fine":
        return marked("object", said, box)
    if form == "place":
        return f"{said} ({place(box)})"
    left, top, right, bottom = (f"{side:.3f}" for side in box)
    if form == "box":
        return f"{said} (<bbox>{left},{top},{right},{bottom}</bbox>)"
    return f"{said} (starts at ({left},{top}) and extends up to ({right},{bottom}))"


def within(caption: str, regions: Sequence[Region], write: Callable[[str, Region], str]) -> str:
    """A caption in which `write(mention, region)` takes the place of each region's first mention that is not another's;
    longer texts choose first, so that "cup" is not found in "tea cup". Regions that it does not mention are left out.
    """
    found: list[tuple[int, int, Region]] = []
    for region in sorted(regions, key=lambda region: -len(region.text)):
        for match in re.finditer(rf"(?<!\w){re.escape(region.text)}(?!\w)", caption, re.IGNORECASE):
            if all(match.end() <= start or end <= match.start() for start, end, _ in found):
                found.append((match.start(), match.end(), region))
                break
    pieces, done = [], 0
    for start, end, region in sorted(found, key=lambda mention: mention[0]):
        pieces += [caption[done:start], write(caption[start:end], region)]
        done = end
    return "".join(pieces) + caption[done:]


def without_filler(text: str, phrases: Sequence[str]) -> str:
    """A text without phrases that say nothing, in any case, such as "the text" before what the text is. What stands in
    double quotes or between marks is what a picture says, and stays as it is."""
    filler = "|".join(rf"(?<!\w){re.escape(phrase)}(?!\w)[ \t]*" for phrase in sorted(phrases, key=len, reverse=True))
    pieces = re.split(r'("[^"]*"|<(\w+)>.*?</\2>)', text, flags=re.DOTALL)
    kept = [
        re.sub(filler, "", piece, flags=re.IGNORECASE) if number % 3 == 0 and filler else piece
        for number, piece in enumerate(pieces)
        if number % 3 != 2  # the name of the marks
    ]
    return "".join(kept).strip()
