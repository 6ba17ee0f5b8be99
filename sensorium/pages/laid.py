"""One sample as the model reads it: the tiles its encoder gets, and every token with what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as PILImage

from sensorium.data.regions import seen_through
from sensorium.data.tiling import Box, TilePlan
from sensorium.errors import DataError
from sensorium.laid_out import LaidOut, MediaSpan
from sensorium.layout import Layout
from sensorium.pages.html import Child, Html, image, tag
from sensorium.sample import Image
from sensorium.tokenizers.tokenizer import Tokenizer

PATCHES = 64
"""Cells of a picture beyond which they are shown as one: patches, of which none shows anything by itself."""
MOST = 700
"""Tokens of a sample that are written out; the rest is counted."""


def sample_card(laid: LaidOut, layout: Layout, source: str) -> Html:
    """A laid-out sample: name and counts, its pictures cut into tiles, its tokens as chips."""
    media = sum(span.length for span in laid.spans)
    counts = f"{len(laid)} tokens: {media} of pictures, {int(laid.supervised.sum())} supervised"
    header = tag("header", tag("b", laid.sample.name), tag("span", f"{source} · {counts}", class_="small"))
    pictures = [picture(span, laid, layout, number) for number, span in enumerate(laid.spans, 1)]
    tokens = tag("div", *chips(laid, layout.tokenizer), class_="tokens")
    return tag("div", header, tag("div", *pictures, tokens, class_="body"), class_="card sample")


def picture(span: MediaSpan, laid: LaidOut, layout: Layout, number: int) -> Html:
    """A picture's tiles in their grid, the overview above or below them; one that cannot be decoded says why, and of a
    sound its length is told."""
    try:
        (opened,) = layout.tiling.opened([span.segment], laid.sample.name)
    except DataError as error:
        return tag("div", f"quarantined when it is read: {error}", class_="banner picture")
    if (rate := layout.tiling.config.rate) is not None:
        length = f"{span.cut.size[0] / rate:.1f} s, {span.cut.plan.tiles} windows, {span.length} tokens"
        return tag("figure", tag("figcaption", f"sound {number}: {length}"), class_="picture", style="margin:0")
    plan = span.cut.plan
    arrays, views = list(layout.tiling.cut(opened, plan)), layout.tiling.views(opened.size, plan)
    if plan.cells > PATCHES:
        arrays, views, plan = _as_one(arrays, views, plan)
    inside: list[list[Html]] = [[] for _ in views]
    for region in span.segment.regions if isinstance(span.segment, Image) else ():
        for place, box in seen_through(views, region):
            inside[place].append(_outline(box, region.text))
    tiles = [_tile(array, f"tile {n}", inside[n]) for n, array in enumerate(arrays)]
    last = plan.first_cell + plan.cells
    cells, overview = tiles[plan.first_cell : last], tiles[: plan.first_cell] + tiles[last:]
    shown = [_grid(part, columns) for part, columns in plan.ordered((overview, 1), [(cells, plan.columns)])]
    plan = span.cut.plan
    cut = (
        f"{plan.rows} × {plan.columns} tiles{' and an overview' if plan.thumbnail else ''}"
        if plan.tiles > 1
        else "1 tile"
    )
    text = f"picture {number}: {opened.width} × {opened.height} pixels, {cut}, {span.length} tokens"
    return tag("figure", *shown, tag("figcaption", text), class_="picture", style="margin:0")


def _as_one(arrays: list[np.ndarray], views: list[Box], plan: TilePlan) -> tuple[list[np.ndarray], list[Box], TilePlan]:
    """The same with all cells as one tile."""
    first, last = plan.first_cell, plan.first_cell + plan.cells
    rows = [np.concatenate(arrays[at : at + plan.columns], axis=2) for at in range(first, last, plan.columns)]
    view: Box = (*views[first][:2], *views[last - 1][2:])
    joined = [*arrays[:first], np.concatenate(rows, axis=1), *arrays[last:]]
    return joined, [*views[:first], view, *views[last:]], replace(plan, rows=1, columns=1)


def _grid(tiles: Sequence[Html], columns: int) -> Html:
    return tag("div", *tiles, class_="tiles", style=f"grid-template-columns:repeat({columns},1fr)")


def _tile(array: np.ndarray, name: str, regions: Sequence[Html]) -> Html:
    return tag("figure", image(PILImage.fromarray(array.transpose(1, 2, 0)), alt=name), *regions)


def _outline(box: Box, text: str) -> Html:
    """A region over a tile; its words show when it is pointed at."""
    left, top, right, bottom = (100 * side for side in box)
    style = f"left:{left:.1f}%;top:{top:.1f}%;width:{right - left:.1f}%;height:{bottom - top:.1f}%"
    return tag("div", class_="region", style=style, title=text)


def chips(laid: LaidOut, tokenizer: Tokenizer) -> Iterator[Html]:
    """The tokens in order; the run of placeholders of a picture is one chip with its count."""
    special = frozenset(tokenizer.rust.get_added_tokens_decoder())
    starts = {span.start: (number, span) for number, span in enumerate(laid.spans, 1)}
    place = written = 0
    while place < len(laid) and written < MOST:
        if place in starts:
            number, span = starts[place]
            yield tag(
                "span",
                f"▦ picture {number} × {span.length}",
                class_="t media",
                title=f"tokens {place} to {place + span.length - 1}",
            )
            place += span.length
        else:
            token = int(laid.ids[place])
            yield _chip(token, place, bool(laid.supervised[place]), token in special, tokenizer)
            place += 1
        written += 1
    if place < len(laid):
        yield tag("span", f" … and {len(laid) - place} more tokens", class_="small")


def _chip(token: int, place: int, supervised: bool, mark: bool, tokenizer: Tokenizer) -> Html:
    classes = " ".join(name for name, on in (("t", True), ("sup", supervised), ("mark", mark)) if on)
    title = f"token {place}, id {token}{', supervised' if supervised else ''}"
    return tag("span", *_visible(_text(token, tokenizer)), class_=classes, title=title)


def _text(token: int, tokenizer: Tokenizer) -> str:
    """The token by itself; a piece of a character keeps the vocabulary's own spelling."""
    text = tokenizer.rust.decode([token], skip_special_tokens=False)
    return text if text and "\ufffd" not in text else tokenizer.rust.id_to_token(token) or f"#{token}"


def _visible(text: str) -> list[Child]:
    """Spaces and line ends are shown as signs of their own."""
    signs = {" ": "·", "\n": "↵", "\t": "⇥"}
    return [tag("span", signs[sign], class_="sp") if sign in signs else sign for sign in text]


def legend() -> Html:
    """What the chips mean."""
    entries = (
        ("t media", "▦ picture × tokens"),
        ("t", "read only"),
        ("t sup", "supervised: the loss wants it predicted"),
    )
    marks = (("t mark", "special token of the template"), ("t mark sup", "supervised mark"))
    return tag("div", *(tag("span", tag("span", text, class_=kind)) for kind, text in entries + marks), class_="legend")
