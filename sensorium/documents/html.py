"""HTML files to documents: what trafilatura takes for the main text, in the order of the page, and its pictures.

Pictures are read from the folder that the page is in or from the page itself, never from anywhere else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from sensorium.data.folder import inside
from sensorium.data.records import normal
from sensorium.documents.document import Figure, Picture, Reading
from sensorium.documents.markup import Block, Shown, blocks_of
from sensorium.errors import DataError
from sensorium.sample import PictureSource

SHINGLE = 4
"""Words in a row by which a block is found again in what trafilatura extracts."""
MARKS = (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")
DECLARED = re.compile(rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
DATA = re.compile(r"data:image/[\w.+-]+(;[^,;]*)*?(?P<base64>;base64)?,(?P<data>.*)", re.IGNORECASE | re.DOTALL)


def read_html(root: Path, relative: str, name: str, max_bytes: int) -> Reading:
    """Read the page `relative` of the folder `root`. A `DataError` that begins with `name` for one that holds no text
    or is larger than `max_bytes`.

    Its blocks are kept as they stand where trafilatura finds them in the main text; a picture or caption is kept
    where text before or after it is, below the element that holds all of what is kept. Where trafilatura finds no
    main text, all blocks are kept that are not navigation by their elements.
    """
    try:
        import trafilatura
        from lxml import html
    except ModuleNotFoundError as error:
        fix = "pip install 'sensorium[documents]'"
        raise DataError(f"{name}: reading web pages needs {error.name}: {fix}") from None
    file = root / relative
    if (size := file.stat().st_size) > max_bytes:
        raise DataError(f"{name}: {size:,} bytes, and at most {max_bytes:,} are read; raise html_bytes or remove it")
    text = decode(file.read_bytes())
    try:
        tree = html.document_fromstring(re.sub(r"^\s*<\?xml[^>]*>", "", text))
    except (SyntaxError, ValueError) as error:  # lxml's errors are such
        raise DataError(f"{name}: no web page ({error}); replace or remove the file") from None
    blocks = blocks_of(tree)
    extracted = trafilatura.extract(text, include_comments=False, favor_recall=True)
    if extracted:
        blocks = main_part(blocks, extracted)
    reading = Reading("html", title=" ".join((tree.findtext(".//title") or "").split()))
    finder = PictureFinder(root, relative, tree)
    for block in items_joined(blocks):
        _add(block, reading, finder)
    if not reading.pieces:
        raise DataError(f"{name}: no text and no picture in it; remove the file")
    return reading


def _add(block: Block | Shown, reading: Reading, finder: PictureFinder) -> None:
    if isinstance(block, Block):
        reading.pieces.append(block.text)
        return
    for address in block.addresses:
        if (source := finder.find(address)) is not None:
            reading.pieces.append(Picture(source, Figure(shortened(address), block.alt)))
            return
    reading.absent.append(Figure(shortened(block.addresses[0]), block.alt))


def decode(raw: bytes) -> str:
    """The text of a page: by its byte order mark, as UTF-8 if it is, as it declares, or as it most likely is."""
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    declared = DECLARED.search(raw[:4096])
    named = declared[1].decode("ascii").lower() if declared else ""
    for encoding in ("utf-8", "cp1252" if named in ("iso-8859-1", "latin-1", "us-ascii") else named):
        try:
            return raw.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    from charset_normalizer import from_bytes

    guess = from_bytes(raw).best()
    return str(guess) if guess is not None else raw.decode("cp1252", "replace")


def main_part(blocks: Sequence[Block | Shown], extracted: str) -> list[Block | Shown]:
    """The blocks whose words stand in the extracted text, the first main heading, and the pictures and captions
    beside them."""
    lines = {normal(line) for line in extracted.splitlines()}
    known = set(shingles(normal(extracted).split()))
    heading = next((b for b in blocks if isinstance(b, Block) and b.element.tag == "h1"), None)
    leads = {place: b for place, b in enumerate(blocks) if isinstance(b, Block) and not is_caption(b)}
    kept = {place for place, b in leads.items() if b is heading or _is_in(b.text, known, lines)}
    if not kept:
        return list(blocks)
    common = common_ancestor([leads[place].element for place in kept])

    def is_beside(place: int) -> bool:
        before = next((lead for lead in range(place, -1, -1) if lead in leads), None)
        after = next((lead for lead in range(place, len(blocks)) if lead in leads), None)
        return (before in kept or after in kept) and common in blocks[place].element.iterancestors()

    return [b for place, b in enumerate(blocks) if place in kept or (place not in leads and is_beside(place))]


def is_caption(block: Block) -> bool:
    """Whether a block stands under a picture: what it says is seldom taken for main text."""
    return bool(block.element.xpath("ancestor-or-self::figcaption"))


def _is_in(text: str, known: set[tuple[str, ...]], lines: set[str]) -> bool:
    words = normal(text).split()
    if len(words) < SHINGLE:
        return " ".join(words) in lines
    rows = shingles(words)
    return 2 * sum(row in known for row in rows) >= len(rows)


def shingles(words: Sequence[str]) -> list[tuple[str, ...]]:
    """All runs of `SHINGLE` words."""
    return [tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]


def common_ancestor(elements: Sequence[Any]) -> Any:
    """The lowest element that all of these are, or are below."""
    paths = [[*reversed(list(element.iterancestors())), element] for element in elements]
    return [step[0] for step in takewhile(lambda s: all(e is s[0] for e in s), zip(*paths, strict=False))][-1]


def items_joined(blocks: Sequence[Block | Shown]) -> list[Block | Shown]:
    """Neighbouring items of lists as one block."""
    found: list[Block | Shown] = []
    for block in blocks:
        last = found[-1] if found else None
        if isinstance(block, Block) and isinstance(last, Block) and block.item and last.item:
            found[-1] = Block(f"{last.text}\n{block.text}", block.element, item=True)
        else:
            found.append(block)
    return found


def shortened(address: str) -> str:
    """An address for people: of a `data:` address only what it is."""
    return address.partition(",")[0] if address.lower().startswith("data:") else address


class PictureFinder:
    """Finds the pictures of a page that lie in `root` or in the page; nothing is ever fetched."""

    def __init__(self, root: Path, relative: str, tree: Any) -> None:
        self.root, self.page = root, Path(relative)
        base = next(iter(tree.xpath("//base/@href")), "")
        self.elsewhere = is_remote(base)

    def find(self, address: str) -> PictureSource | None:
        """A file or bytes; None of what is remote, missing, outside the folder or no picture."""
        if address.lower().startswith("data:"):
            return picture_in(address)
        if self.elsewhere or is_remote(address):
            return None
        path = unquote(urlsplit(address).path)
        place = Path(path.lstrip("/")) if path.startswith("/") else self.page.parent / path
        try:
            return inside(self.root, str(place), self.page.name) if path and "\0" not in path else None
        except (DataError, OSError):
            return None


def is_remote(address: str) -> bool:
    """Whether an address names a place other than a file beside the page: it has a scheme or a host."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return True
    return bool(parts.scheme or parts.netloc)


def picture_in(address: str) -> bytes | None:
    """The file that a `data:image/...` address holds."""
    match = DATA.fullmatch(address)
    if match is None:
        return None
    try:
        held = unquote_to_bytes(match["data"])
        return base64.b64decode(re.sub(rb"\s", b"", held), validate=True) if match["base64"] else held
    except (binascii.Error, ValueError):
        return None
