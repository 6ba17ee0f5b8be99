"""Packed rows as a picture: which samples share a row, where their pictures stand, and what is padding."""

from __future__ import annotations

from sensorium.laid_out import LaidOut
from sensorium.pages.html import Html, tag
from sensorium.pages.survey import Survey

PALETTE = 8


def pack_map(seen: Survey) -> Html:
    """Packs as bars, samples in turning colours, picture tokens darker, padding left blank."""
    row, length = 13, seen.stage.length
    drawn: list[Html] = []
    for line, pack in enumerate(seen.packs):
        drawn.append(_rectangle(0, length, line * row, "faint", f"{length - sum(map(len, pack))} tokens of padding"))
        start = 0
        for number, laid in enumerate(pack):
            drawn += _bar(laid, start, line * row, (line + number) % PALETTE)
            start += len(laid)
    height = max(1, len(seen.packs)) * row
    svg = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {length} {height}",
        preserveAspectRatio="none",
        class_="map",
        style=f"height:{height}px",
    )
    title = f"{len(seen.packs)} packs, {100 * seen.efficiency:.1f} % full"
    note = "A row is a pack, a colour a sample; the dark part is a picture's tokens, the pale end is padding."
    return tag(
        "div", tag("h3", title), svg, tag("p", note, class_="small", style="margin:.6rem 0 0"), class_="chart card"
    )


def _bar(laid: LaidOut, start: int, y: int, colour: int) -> list[Html]:
    bars = [_rectangle(start, len(laid), y, f"c{colour}", f"{laid.sample.name}: {len(laid)} tokens")]
    return bars + [_rectangle(start + s.start, s.length, y, "shade", "", opacity=".22") for s in laid.spans]


def _rectangle(x: int, width: int, y: int, colour: str, title: str, opacity: str | None = None) -> Html:
    fill = "#000" if colour == "shade" else f"var(--{colour})"
    hint = tag("title", title) if title else None
    return tag(
        "rect",
        hint,
        x=x,
        y=y + 1,
        width=width,
        height=11,
        style=f"fill:{fill}",
        opacity=opacity,
        pointer_events=None if title else "none",
    )
