"""Markup that cannot be forgotten to be escaped: text is escaped unless it is already `Html`.

Captions, questions, file names and error messages come from data, and a page that shows them must not run them.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.atomic import write_file
from sensorium.pages.style import CSS

if TYPE_CHECKING:
    import PIL.Image


class Html(str):
    """A string that is markup already; whatever else reaches `tag` is text and is escaped."""


Child = str | int | float | None | Iterable["Child"]
_VOID = frozenset({"img", "br", "hr", "input", "meta"})


def tag(name: str, /, *children: Child, **attributes: object) -> Html:
    """An element. Attributes lose a trailing underscore and swap inner ones for dashes; `None` and `False` are left
    out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """Children in order, text escaped."""
    if children is None:
        return Html()
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(html.escape(str(children)))
    return Html("".join(join(child) for child in children))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def page(title: str, *body: Child) -> str:
    """A whole document that needs nothing from anywhere else."""
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        # The browser itself refuses scripts and outside resources, should any ever slip in.
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    document = tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en")
    return f"<!doctype html>\n{document}\n"


def write_page(file: str | Path, text: str) -> Path:
    """Write a page, making the folder if need be; whole or not at all."""
    file = Path(file)
    write_file(file, text)
    return file


def section(title: str, *children: Child, note: str = "") -> Html:
    """A headed part of a page; the note says in a sentence what is to be seen."""
    return tag("section", tag("h2", title), tag("p", note, class_="note") if note else None, *children)


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], class_: str | None = None) -> Html:
    """A table that scrolls sideways by itself on a narrow screen."""
    header = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", header, body, class_=class_), class_="scroll")


def data_uri(picture: PIL.Image.Image, limit: int = 384) -> str:
    """A picture inside the page: PNG while it is small, JPEG and at most `limit` pixels a side once it is not."""
    small = max(picture.size) <= 160
    shown = picture.convert("RGB")
    if not small:
        shown.thumbnail((limit, limit))
    buffer = io.BytesIO()
    shown.save(buffer, "PNG" if small else "JPEG", quality=85, optimize=True)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image(picture: PIL.Image.Image, alt: str = "", class_: str | None = None) -> Html:
    """An `img` with the picture in it; small pictures keep their pixels sharp when shown large."""
    crisp = "crisp" if max(picture.size) <= 160 else ""
    classes = " ".join(filter(None, (class_, crisp))) or None
    return tag("img", src=data_uri(picture), alt=alt, width=picture.width, height=picture.height, class_=classes)
