"""A page's elements in reading order: paragraphs, headings, items, tables and preformatted text as blocks, and its
pictures between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SILENT = frozenset((
    "script", "style", "noscript", "template", "head", "iframe", "object", "embed", "applet", "svg", "math",
    "canvas", "video", "audio", "map", "select", "option", "button", "textarea", "input", "datalist",
    "progress", "meter", "dialog", "rp", "rt", "nav", "aside", "footer",
))  # fmt: skip
"""Elements whose contents are no part of what a page says, navigation among them."""
ROLES = frozenset((
    "navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "toolbar", "dialog",
    "alert",
))  # fmt: skip
INLINE = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i",
    "ins", "kbd", "label", "mark", "nobr", "output", "q", "ruby", "s", "samp", "small", "span", "strike",
    "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "picture", "source",
))  # fmt: skip
"""Elements that do not end a paragraph."""
UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
LAYOUT = ".//*[self::table or self::img or self::p or self::div or self::ul or self::ol]"
"""What tables hold that are there for the look of a page; they are read as any other element."""
ADDRESSES = ("data-src", "data-original", "data-lazy-src", "src", "srcset", "data-srcset")
"""Where pages write the address of a picture, those that are loaded late first: their `src` is a placeholder."""
NEWLINE = "\u2028"
"""Stands for a `br` until white space is settled."""


@dataclass(frozen=True)
class Block:
    """A paragraph and the element that ends it."""

    text: str
    element: Any
    item: bool = False


@dataclass(frozen=True)
class Shown:
    """A picture: the addresses that it is given, best first, and its alternative text."""

    addresses: tuple[str, ...]
    alt: str
    element: Any


def blocks_of(root: Any) -> list[Block | Shown]:
    """Blocks and pictures below an lxml element in the order of the page, hidden ones left out."""
    walk = _Walk()
    walk.visit(root)
    walk.flush(root)
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found: list[Block | Shown] = []
        self.written: list[str] = []
        self.mark = ""
        self.numbers: dict[Any, int] = {}

    def visit(self, element: Any) -> None:
        if not isinstance(element.tag, str) or is_hidden(element):
            return
        tag = element.tag
        if tag == "br":
            self.written.append(NEWLINE)
        elif tag == "img":
            self._picture(element)
        elif tag == "pre":
            self.flush(element)
            lines = element.text_content().splitlines()
            self._add("\n".join(line.rstrip() for line in lines if line.strip()), element)
        elif tag == "table" and not element.xpath(LAYOUT):
            self.flush(element)
            self._add("\n".join(table_rows(element)), element)
        else:
            self._inside(element)

    def _inside(self, element: Any) -> None:
        ends = element.tag not in INLINE
        if ends:
            self.flush(element.getparent())
        if element.tag == "li":
            self.mark = self._item_mark(element.getparent())
        self.written.append(element.text or "")
        for child in element:
            self.visit(child)
            self.written.append(child.tail or "")
        if ends:
            self.flush(element)
        if element.tag == "li":
            self.mark = ""

    def _item_mark(self, items: Any) -> str:
        """What opens an item of a list: its number or a dash."""
        if items is None or items.tag != "ol":
            return "- "
        self.numbers[items] = self.numbers.get(items, 0) + 1
        return f"{self.numbers[items]}. "

    def _picture(self, element: Any) -> None:
        if addresses := tuple(picture_addresses(element)):
            self.flush(element)
            self.found.append(Shown(addresses, " ".join((element.get("alt") or "").split()), element))

    def flush(self, element: Any) -> None:
        """End the paragraph; its white space becomes single spaces, its `br` new lines."""
        lines = (" ".join(line.split()) for line in "".join(self.written).split(NEWLINE))
        self.written = []
        self._add("\n".join(line for line in lines if line), element)

    def _add(self, text: str, element: Any) -> None:
        if text.strip():
            self.found.append(Block(self.mark + text, element, item=bool(self.mark)))
            self.mark = ""


def is_hidden(element: Any) -> bool:
    """Whether an element is not for reading: by its name, its role, or because it is not shown."""
    if element.tag in SILENT or element.get("role") in ROLES or element.get("aria-hidden") == "true":
        return True
    if element.get("hidden") is not None or UNSEEN.search(element.get("style") or ""):
        return True
    return element.tag == "header" and not element.xpath("ancestor::article or ancestor::main or .//h1")


def table_rows(table: Any) -> Iterator[str]:
    """The rows of a table as text, cells between bars."""
    for row in table.iter("tr"):
        cells = [" ".join(cell.text_content().split()) for cell in row if cell.tag in ("td", "th")]
        if any(cells):
            yield " | ".join(cells)


def picture_addresses(element: Any) -> Iterator[str]:
    """The addresses of a picture; one that holds the picture itself only if it is alone, or it is a placeholder."""
    found: list[str] = []
    for name in ADDRESSES:
        value = (element.get(name) or "").strip()
        if name.endswith("srcset") and value:  # the last is the largest, by custom
            value = value.split(",")[-1].strip().partition(" ")[0]
        found += [value] if value else []
    elsewhere = [address for address in found if not address.lower().startswith("data:")]
    return iter(dict.fromkeys(elsewhere or found))
