"""HTML files to documents: what trafilatura takes for the main text, in the order of the page, and its pictures.

Pictures are read from the folder that the page is in or from the page itself, never from anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sensorium.assets import need
from sensorium.documents.addresses import PictureFinder, shortened
from sensorium.documents.document import Figure, Picture, Reading
from sensorium.documents.main_text import main_part
from sensorium.documents.markup import Block, Shown, blocks_of
from sensorium.errors import DataError

MARKS = (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")
DECLARED = re.compile(rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def read_html(root: Path, relative: str, name: str, max_bytes: int) -> Reading:
    """Read the page `relative` of the folder `root`. A `DataError` that begins with `name` for one that holds no text
    or is larger than `max_bytes`; a `ConfigError` if what reads pages is not installed.

    Its blocks are kept as they stand where trafilatura finds them in the main text; a picture or caption is kept
    where text before or after it is, below the element that holds all of what is kept. Where trafilatura finds no
    main text, all blocks are kept that are not navigation by their elements.
    """
    need("trafilatura", "documents", "reading web pages")
    import trafilatura
    from lxml import html

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
    """The text of a page, without control characters: by its byte order mark, as UTF-8 if it is, as it declares, or as
    it most likely is."""
    return CONTROL.sub(" ", _decoded(raw))


def _decoded(raw: bytes) -> str:
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
