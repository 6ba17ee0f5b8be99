"""PDF files to documents: the lines and pictures of each page in the order in which they are read."""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sensorium.assets import need
from sensorium.data.images import MAX_PIXELS
from sensorium.documents.columns import Box, reading_order
from sensorium.documents.document import Figure, Picture, Reading
from sensorium.documents.lines import SOFT_HYPHEN, Line, paragraphs_of
from sensorium.errors import DataError

GAP = 1.0
"""Text ends where the next letter is further right than this, in heights of the line: the next column, or a cell."""
UPRIGHT = 0.9
"""Cosine of the greatest angle of letters that are read; stamps in the margin and watermarks are turned."""
Page = list[Line | Picture]
HYPHENS = ("\x02", "\ufffe")
"""What PDFium writes for a hyphen at the end of a line."""


def read_pdf(file: Path, name: str, max_bytes: int, max_pages: int) -> Reading:
    """Read a PDF. A `DataError` that begins with `name` for one that is damaged, needs a password, or is larger than
    the limits, which MINT-1T (2406.11271, section 3.1) sets at 50 MB and 50 pages.

    A `ConfigError` if pypdfium2 is not installed. Drawings that are not pictures are not seen; a scanned page has a
    picture and no text.
    """
    need("pypdfium2", "documents", "reading PDFs")
    import pypdfium2 as pdfium

    if (size := file.stat().st_size) > max_bytes:
        raise DataError(f"{name}: {size:,} bytes, and at most {max_bytes:,} are read; raise pdf_bytes or remove it")
    try:
        with pdfium.PdfDocument(file) as opened:
            if len(opened) > max_pages:
                raise DataError(f"{name}: {len(opened)} pages, and at most {max_pages} are read; raise pdf_pages")
            reading = Reading("pdf", title=opened.get_metadata_dict().get("Title", "").strip())
            pages = [_read_page(opened[number], number + 1, reading) for number in range(len(opened))]
    except pdfium.PdfiumError as error:
        what = "it needs a password" if "password" in str(error).lower() else f"not a readable PDF ({error})"
        raise DataError(f"{name}: {what}; replace or remove the file") from None
    things = [thing for page in without_furniture(pages) for thing in page]
    pictures = (thing for thing in things if isinstance(thing, Picture))
    lines = [thing if isinstance(thing, Line) else None for thing in things]
    reading.pieces = [next(pictures) if text is None else text for text in paragraphs_of(lines)]
    return reading


def without_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without the headers, footers and page numbers that run through them: of each page's two highest and
    two lowest lines those that, digits aside, stand at the edge of a fourth of the pages, and of three at least."""
    edges = [_edges(page) for page in pages]
    counts = Counter(text for page in edges for text in set(page.values()))
    often = {text for text, count in counts.items() if count >= max(3, len(pages) / 4)}
    return [[one for one in page if edge.get(id(one)) not in often] for page, edge in zip(pages, edges, strict=True)]


def _edges(page: Page) -> dict[int, str]:
    """Lines at the top and bottom of a page by identity: what they say, without digits."""
    lines = sorted((one for one in page if isinstance(one, Line)), key=lambda line: line.box.top)
    return {id(line): re.sub(r"\d+", "0", line.text) for line in [*lines[:2], *lines[-2:]]}


def _read_page(page: Any, number: int, reading: Reading) -> Page:
    """Lines and pictures of a page as they are read; pictures that cannot be had are noted in `reading`."""
    things: list[tuple[Box, Line | Picture]] = [(line.box, line) for line in page_lines(page)]
    for count, (box, source) in enumerate(page_pictures(page), 1):
        figure = Figure(f"page {number}, picture {count}")
        if source is None:
            reading.absent.append(figure)
        else:
            things.append((box, Picture(source, figure)))
    page.close()
    return [things[place][1] for place in reading_order([box for box, _ in things])]


def page_lines(page: Any) -> Iterator[Line]:
    """What is written on a page, in pieces that have no wide gap, in the order of the file; turned letters are left
    out."""
    import pypdfium2.raw as raw

    text = page.get_textpage()
    written, box = "", None
    for index in range(text.count_chars()):
        if math.cos(raw.FPDFText_GetCharAngle(text, index)) < UPRIGHT:
            continue
        letter = _letter(raw.FPDFText_GetUnicode(text, index))
        if letter.isspace():
            written += " " if box else ""
            continue
        left, bottom, right, top = text.get_charbox(index, loose=True)
        here = Box(left, -top, right, -bottom)
        if box is not None and _same_line(box, here):
            box = box.union(here)
        else:
            yield from _line(written, box)
            written, box = "", here
        written += letter
    yield from _line(written, box)
    text.close()


def _letter(code: int) -> str:
    letter = chr(code)
    if letter in HYPHENS:
        return SOFT_HYPHEN
    if "\ufb00" <= letter <= "\ufb06":  # ligatures
        return unicodedata.normalize("NFKC", letter)
    return " " if unicodedata.category(letter) in ("Cc", "Cs") else letter


def _same_line(line: Box, letter: Box) -> bool:
    height = min(line.height, letter.height)
    overlap = min(line.bottom, letter.bottom) - max(line.top, letter.top)
    return overlap > 0.3 * height and -height < letter.left - line.right < GAP * line.height


def _line(written: str, box: Box | None) -> Iterator[Line]:
    if box is not None and box.width > 0 and box.height > 0:
        yield Line(written.strip(), box)


def page_pictures(page: Any) -> Iterator[tuple[Box, bytes | None]]:
    """Where each picture of a page stands, and its file: the one inside the PDF if it is an upright JPEG, else a PNG;
    None if it is too large or cannot be drawn."""
    import pypdfium2.raw as raw

    for image in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = image.get_bounds()
        yield Box(left, -top, right, -bottom), _picture_bytes(image)


def _picture_bytes(image: Any) -> bytes | None:
    width, height = image.get_px_size()
    if not 0 < width * height <= MAX_PIXELS:
        return None
    buffer = io.BytesIO()
    matrix = image.get_matrix()
    upright = matrix.a > 0 and matrix.d > 0 and not matrix.b and not matrix.c
    try:
        if image.get_filters() == ["DCTDecode"] and upright:
            return bytes(image.get_data())
        image.get_bitmap(render=True).to_pil().save(buffer, "png")
    except Exception:  # whatever is wrong with one picture, the page is still worth reading
        return None
    return buffer.getvalue()
