"""Web pages and PDFs to documents: the order of what they show, what filters take out, every file accounted for."""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import Image as PILImage
from typer.testing import CliRunner

from sensorium.cli import app
from sensorium.config import find_part
from sensorium.data.images import open_picture
from sensorium.documents.bloom import BloomFilter
from sensorium.documents.columns import Box, reading_order
from sensorium.documents.document import Figure, Picture, Reading, figure_of, joined
from sensorium.documents.filter import apply
from sensorium.documents.judge import Judge
from sensorium.documents.likeness import LikenessIndex, Print, print_of
from sensorium.documents.lines import join
from sensorium.documents.pipeline import Settings, make_documents
from sensorium.documents.read import Limits, find_files, read_document
from sensorium.documents.words import identify, words
from sensorium.errors import ConfigError, DataError
from sensorium.pages.documents import write_documents_page
from sensorium.sample import Image, Sample, Text

pytest.importorskip("pypdfium2")
pytest.importorskip("trafilatura")
DATA = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data")


class Turned(str):
    """Text that runs upwards."""


Page = list[tuple[str | bytes, float, float, float]]
"""What stands on a page: text or a JPEG; x, y from the top, and its size: height of letters, width of pictures."""


def noise(seed: int, size: tuple[int, int] = (200, 160), kind: str = "png") -> bytes:
    """A picture that looks like no other: coarse random patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(patches).resize(size, PILImage.Resampling.NEAREST).save(buffer, kind)
    return buffer.getvalue()


def prose(subject: str) -> str:
    """A sentence that filters have nothing against."""
    return f"In the spring the {subject} comes back to the old park, and we see it there with its young, in the trees."


def shown(document: Sample) -> list[str]:
    """A document as text: its paragraphs, and its pictures as their address in brackets."""
    return [
        s.text if isinstance(s, Text) else f"[{figure_of(document, s).address}]"
        for s in document.segments
        if isinstance(s, Text | Image)
    ]


def write_pdf(file: Path, *pages: Page) -> None:
    import pypdfium2 as pdfium
    import pypdfium2.raw as raw

    pdf = pdfium.PdfDocument.new()
    font = raw.FPDFText_LoadStandardFont(pdf, b"Helvetica")
    for things in pages:
        page = pdf.new_page(600, 800)
        for thing, x, y, size in things:
            if isinstance(thing, bytes):
                image = pdfium.PdfImage.new(pdf)
                image.load_jpeg(io.BytesIO(thing), inline=True)
                image.set_matrix(pdfium.PdfMatrix().scale(size, size * 0.8).translate(x, 800 - y - size * 0.8))
                page.insert_obj(image)
            else:
                text = raw.FPDFPageObj_CreateTextObj(pdf, font, ctypes.c_float(size))
                letters = ctypes.create_string_buffer((thing + "\0").encode("utf-16-le"))
                raw.FPDFText_SetText(text, ctypes.cast(letters, raw.FPDF_WIDESTRING))
                turn = (0, 1, -1, 0) if isinstance(thing, Turned) else (1, 0, 0, 1)
                raw.FPDFPageObj_Transform(text, *turn, x, 800 - y)
                raw.FPDFPage_InsertObject(page, text)
        page.gen_content()
    pdf.save(file)


def column(lines: list[str], x: float, y: float) -> Page:
    return [(line, x, y + 12 * place, 10) for place, line in enumerate(lines)]


# --- web pages ---

ARTICLE = f"""<!doctype html><html><head><title> Crows &amp; parks </title><style>p {{ color: red }}</style>
</head><body>
<nav><ul><li><a href="/">Home</a><li><a href="/x">About us</a></ul></nav>
<header><img src="/logo.png" alt="logo"></header>
<article><h1>The crows of the park</h1>
<img src="pictures/crow%201.png" alt=" A  crow ">
<p>{prose("crow")}</p><p style="DISPLAY : none">hidden words that nobody sees on the page</p>
<figure><img src="placeholder.gif" data-src="/pictures/nest.png" alt="A nest"><figcaption>A nest in the tall
 trees of the park.</figcaption></figure>
<h2>What they eat</h2>
<ol><li></li></ol>
<ul><li>worms and other animals that live in the ground</li><li>seeds and <b>fruit</b> of many kinds of plants</li></ul>
<p>{prose("raven")} Before the inline picture <img src="INLINE" alt="inline"> and after the inline picture
it goes on.</p>
<table><tr><th>bird<th>eggs in its nest<tr><td>crow<td>five or six<tr><td>raven<td>four or five</table>
<p>{prose("magpie")}<br>A second line of the same paragraph.</p>
<script>document.write("scripted")</script>
</article>
<div class="related"><a href="1"><img src="pictures/nest.png">Ten things that you will not believe</a></div>
<footer>Copyright by the crows, all rights reserved</footer></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with one page and its pictures."""
    folder = tmp_path / "site"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "crow 1.png").write_bytes(noise(1))
    (folder / "pictures" / "nest.png").write_bytes(noise(2))
    (folder / "logo.png").write_bytes(noise(3))
    inline = "data:image/png;base64," + base64.b64encode(noise(4)).decode()
    (folder / "crows.html").write_text(ARTICLE.replace("INLINE", inline))
    return folder


def page(folder: Path, body: str, name: str = "page.html") -> Sample:
    (folder / name).write_text(f"<html><body>{body}</body></html>")
    return read_document(folder, name)


def test_a_web_page_is_read_in_its_order(site: Path) -> None:
    document = read_document(site, "crows.html")
    assert shown(document) == [
        "The crows of the park",
        "[pictures/crow%201.png]",
        prose("crow"),
        "[/pictures/nest.png]",
        "A nest in the tall trees of the park.",
        "What they eat",
        "- worms and other animals that live in the ground\n- seeds and fruit of many kinds of plants",
        prose("raven") + " Before the inline picture",
        "[data:image/png;base64]",
        "and after the inline picture it goes on.",
        "bird | eggs in its nest\ncrow | five or six\nraven | four or five",
        prose("magpie") + "\nA second line of the same paragraph.",
    ]
    assert [figure_of(document, image).alt for image in document.images] == ["A crow", "A nest", "inline"]
    assert [open_picture(image.source).size for image in document.images] == [(200, 160)] * 3
    assert document.images[2].source == noise(4)
    assert {segment.role for segment in document.segments} == {"document"}
    assert (document.id, document.source, document.meta["title"]) == ("crows.html", "site", "Crows & parks")


def test_pictures_that_are_loaded_late_are_found_and_placeholders_are_not(site: Path) -> None:
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    late = [f"src='{dot}' data-src='logo.png'", f"src='{dot}' data-src='https://remote.example/a.png'",
            "srcset='small.png 1x, pictures/nest.png 2x'", f"src='{dot}'"]  # fmt: skip
    document = page(site, f"<p>{prose('owl')}</p>" + "".join(f"<img {one}>" for one in late))
    assert shown(document)[1:] == ["[logo.png]", "[pictures/nest.png]", "[data:image/gif;base64]"]


def test_neighbouring_paragraphs_join_and_pictures_keep_their_place(site: Path) -> None:
    document = read_document(site, "crows.html")
    texts = [isinstance(segment, Text) for segment in joined(document).segments]
    assert texts == [True, False, True, False, True, False, True]
    assert "\n\n".join(shown(joined(document))) == "\n\n".join(shown(document))


def test_nothing_is_read_from_elsewhere(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.parent / "secret.png").write_bytes(noise(9))
    (site / "link.png").symlink_to(site.parent / "secret.png")
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("something was fetched"))
    outside = ["https://remote.example/a.png", "//remote.example/b.png", "../secret.png", "/../secret.png", "link.png",
               (site / "logo.png").as_uri(), "gone.png", "data:image/png;base64,%%%", "pictures"]  # fmt: skip
    document = page(site, f"<p>{prose('owl')}</p>" + "".join(f'<img src="{one}" alt="x">' for one in outside))
    assert document.images == ()
    absent: Any = document.meta["absent"]
    assert [figure.address for figure in absent] == [*outside[:7], "data:image/png;base64", "pictures"]
    based = page(site, f'<base href="https://remote.example/"><p>{prose("owl")}</p><img src="logo.png">')
    assert based.images == ()
    assert len(page(site, f"<p>{prose('owl')}</p><img src='logo.png'>").images) == 1


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-16"),
        ('<meta charset="iso-8859-1">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">', "cp1252"),
        ("", "cp1252"),
    ],
)
def test_encodings_are_detected(site: Path, head: str, encoding: str) -> None:
    text = "Die Krähe hört „über“ Äcker, müßig – süße Grüße für alle Vögel, die im Frühling zurück in den Park kommen."
    (site / "page.html").write_bytes(f"<html><head>{head}</head><body><p>{text}</p></body></html>".encode(encoding))
    assert shown(read_document(site, "page.html")) == [text]


@pytest.mark.parametrize("encoding", ["shift_jis", "cp1251"])
def test_a_declared_encoding_is_believed(site: Path, encoding: str) -> None:
    text = {"shift_jis": "カラスは公園の木に巣を作ります。", "cp1251": "Ворона вьёт гнездо в старом парке."}[encoding]
    (site / "page.html").write_bytes(f'<meta charset="{encoding}"><p>{text}</p>'.encode(encoding))
    assert shown(read_document(site, "page.html")) == [text]


@pytest.mark.parametrize("held", [b"", b"<html><script>1</script></html>", b"\0\1\2", b"<div>" * 3_000])
def test_what_is_no_page_is_refused_by_name(site: Path, held: bytes) -> None:
    (site / "bad.html").write_bytes(held)
    with pytest.raises(DataError, match=r"site/bad\.html"):
        read_document(site, "bad.html")


def test_links_that_lead_out_and_large_files_are_refused(site: Path) -> None:
    (site.parent / "other.html").write_text(f"<p>{prose('owl')}</p>")
    (site / "link.html").symlink_to(site.parent / "other.html")
    with pytest.raises(DataError, match=r"site/link\.html.*leads out"):
        read_document(site, "link.html")
    with pytest.raises(DataError, match="at most 10 are read; raise html_bytes"):
        read_document(site, "crows.html", Limits(html_bytes=10))


# --- PDFs ---

LEFT = [f"left line {i} of the first column ends" for i in range(8)]
RIGHT = [f"Right line {i} of the second column ends" for i in range(8)]


def test_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Written line by line across both columns, as some programs do; the title and the last line span both."""
    rows = [line for pair in zip(column(LEFT, 60, 100), column(RIGHT, 320, 100), strict=True) for line in pair]
    title = [("A wide title that stands over both of the columns here", 60.0, 60.0, 18.0)]
    stamp: Page = [(Turned("stamp in the margin"), 30, 400, 14)]
    last = [("The last line spans both columns of the page, from the one side to the other side.", 60.0, 420.0, 12.0)]
    write_pdf(tmp_path / "a.pdf", [*stamp, *title, *rows, *last, (noise(1, kind="jpeg"), 60, 220, 100)])
    assert shown(read_document(tmp_path, "a.pdf")) == [
        title[0][0],
        " ".join(LEFT),
        "[page 1, picture 1]",
        " ".join(RIGHT),
        last[0][0],
    ]


def test_pictures_stand_between_the_paragraphs_they_stand_between(tmp_path: Path) -> None:
    above, below = [f"Above line {i} of a page in one column, it is long." for i in range(3)], ["Below it", "is more."]
    pictures = [noise(seed, kind="jpeg") for seed in (1, 2, 3)]
    things: Page = [(pictures[1], 60, 170, 120), *column(below, 60, 290), (pictures[0], 60, 20, 60)]
    write_pdf(tmp_path / "a.pdf", [*things, (pictures[2], 200, 170, 120), *column(above, 60, 120)])
    document = read_document(tmp_path, "a.pdf")
    assert [one.source if isinstance(one, Image) else one.text for one in document.segments if one] == [
        pictures[0], " ".join(above), pictures[1], pictures[2], "Below it is more.",
    ]  # fmt: skip


def test_a_picture_beside_a_paragraph_does_not_cut_it(tmp_path: Path) -> None:
    lines = [f"Line {i} of the paragraph stands left of it" for i in range(6)]
    write_pdf(tmp_path / "a.pdf", [*column(lines, 60, 100), (noise(1, kind="jpeg"), 300, 115, 50)])
    assert shown(read_document(tmp_path, "a.pdf")) == [" ".join(lines), "[page 1, picture 1]"]


def test_rows_of_a_table_are_read_across(tmp_path: Path) -> None:
    text = column([f"Line {i} of a paragraph that fills the whole width of the page that it is on." for i in range(4)],
                  60, 60)  # fmt: skip
    cells: Page = [(f"{name} {i}", x, 200 + 30 * i, 10) for i in range(3) for name, x in (("name", 60), ("eggs", 300))]
    write_pdf(tmp_path / "a.pdf", [*cells, *text])
    assert shown(read_document(tmp_path, "a.pdf"))[1:] == ["name 0 eggs 0", "name 1 eggs 1", "name 2 eggs 2"]


def test_three_columns_and_a_band_between() -> None:
    boxes = {
        (c, r): Box(200 * c, 20 * r + 100 * (r > 3), 200 * c + 170, 20 * r + 12 + 100 * (r > 3))
        for r in range(8) for c in range(3)
    }  # fmt: skip
    boxes[-1, -1] = Box(0, 120, 570, 160)
    keys = sorted(boxes, key=lambda key: hash((key[0] * 7, key[1] * 13)))
    order = [keys[i] for i in reading_order([boxes[key] for key in keys])]
    above, below = [[(c, r) for c in range(3) for r in rows] for rows in (range(4), range(4, 8))]
    assert order == [*above, (-1, -1), *below]


def test_a_table_alone_is_read_across() -> None:
    """Its columns are as far apart as those of text; but its cells do not fill them as lines do."""
    widths = (200, 40, 50, 30, 45)
    rows = [[Box(x, 20 * row, x + width, 20 * row + 12) for x in (0, 240)] for row, width in enumerate(widths)]
    assert reading_order([box for row in rows for box in row]) == list(range(10))


def test_paragraphs_break_and_go_on(tmp_path: Path) -> None:
    """A hyphen at the end of a line goes, a wide gap ends a paragraph, and one goes on in the next column and on the
    next page, past the running header and the number of the page."""

    def furniture(number: int) -> Page:
        return [("Annals of Crows", 250, 30, 9), (str(number), 300, 780, 9)]

    first = column(["The crow is an in-", "telligent bird, and", "well-", "Known for it.", ""], 60, 100)
    left = column(["A second paragraph stands", "below and goes on in the"], 60, 200)
    right = column(
        ["next column and then", "it goes on, on the", "next page, which", "begins with a line of"], 320, 100
    )
    last = column(["the same paragraph."], 60, 100)
    pages = [[*first[:-1], *left, *right, *furniture(1)], [*last, *furniture(2)], furniture(3)]
    write_pdf(tmp_path / "a.pdf", *pages)
    assert shown(read_document(tmp_path, "a.pdf")) == [
        "The crow is an intelligent bird, and well- Known for it.",
        "A second paragraph stands below and goes on in the next column and then it goes on, on the next page, which "
        "begins with a line of the same paragraph.",
    ]


def test_hyphens_go_between_small_letters_alone() -> None:
    assert join("intel-", "ligent") == "intelligent"
    assert join("Jean-", "Paul") == "Jean- Paul"
    assert join("2-", "fold") == "2- fold"


def test_pdfs_that_cannot_be_read(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", *[column([f"{word} page"], 60, 60) for word in ("first", "second", "third")])
    whole = (tmp_path / "a.pdf").read_bytes()
    locked = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >> "
    (tmp_path / "locked.pdf").write_bytes(whole.replace(b"/Root", locked + b"/ID [<00> <00>] /Root"))
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.7 and then nothing of use")
    (tmp_path / "empty.pdf").write_bytes(b"")
    for file, limits, said in [
        ("locked.pdf", Limits(), "needs a password"),
        ("damaged.pdf", Limits(), "not a readable PDF"),
        ("empty.pdf", Limits(), "not a readable PDF"),
        ("a.pdf", Limits(pdf_pages=2), "3 pages, and at most 2 are read; raise pdf_pages"),
        ("a.pdf", Limits(pdf_bytes=100), "at most 100 are read; raise pdf_bytes"),
    ]:
        with pytest.raises(DataError, match=f"{tmp_path.name}/{file}: .*{said}"):
            read_document(tmp_path, file, limits)
    assert shown(read_document(tmp_path, "a.pdf", Limits(pdf_pages=3))) == ["first page", "second page", "third page"]


# --- filters ---


def make(*pieces: str | bytes | tuple[bytes, str], kind: str = "html", id: str = "d") -> Sample:
    """A document of texts and pictures, these with an address if need be."""
    pairs = [one if isinstance(one, str) else one if isinstance(one, tuple) else (one, "a.png") for one in pieces]
    reading = Reading(kind, pieces=[p if isinstance(p, str) else Picture(p[0], Figure(p[1])) for p in pairs])
    return reading.document(id, "test")


def build(name: str, **changes: Any) -> Any:
    return find_part("document-filter", name).model_validate(changes).build()


def left(name: str, document: Sample, **changes: Any) -> list[str]:
    """What a filter leaves of a document: [] if it drops it."""
    outcome = apply([build(name, **changes)], document)
    return [] if outcome.dropped_by else shown(outcome.document)


def test_picture_size() -> None:
    def sizes(*sizes: tuple[int, int], kind: str = "html") -> list[str]:
        names = [(noise(0, size), f"{size[0]}x{size[1]}") for size in sizes]
        return left("picture-size", make("text", *names, kind=kind))[1:]

    assert sizes((150, 150), (149, 200), (300, 150), (302, 150), (150, 300)) == ["[150x150]", "[300x150]", "[150x300]"]
    assert sizes((450, 150), (452, 150), kind="pdf") == ["[450x150]"]
    assert left("picture-size", make("text", b"no picture", noise(0))) == ["text", "[a.png]"]
    assert left("picture-size", make("text", noise(0)), max_side=180) == ["text"]


def test_picture_address() -> None:
    addresses = ["img/site-logo2.png", "siteLogo.png", "icons/a.png", "AVATAR_7.jpg", "xxx.example/a.png"]
    kept = ["silicon.png", "sitelogo.png", "crow.png", "iconic.jpg"]
    document = make("text", *[(noise(0), address) for address in [*addresses, *kept]])
    assert left("picture-address", document) == ["text", *(f"[{address}]" for address in kept)]


def test_picture_count() -> None:
    assert left("picture-count", make("text")) == []
    assert left("picture-count", make("text", b"1")) == ["text", "[a.png]"]
    assert left("picture-count", make("text", b"1", b"2"), max_pictures=1) == []
    assert left("picture-count", make("text"), min_pictures=0) == ["text"]


GOOD = (
    "The crow builds its nest in the tall trees of the old park, and it feeds its young there in the spring. "
    "People who walk in the park can see it from the path, if they are quiet and wait for a while."
)
BAD = {
    "too short": "Read more now",
    "repeats characters": "and so on " * 20 + "it is what it is, of the day.",
    "repeats words": "Click to see the list of the day. It is new. " * 4,
    "special characters": "A: 1 | 2 | 3 | 4 | 5 | 6 / 7 / 8 / 9 -- the (1) of {2} is [3] in <4>, and = 5 or + 6.",
    "no stop words": "Hotels London cheap flights Paris rental cars Berlin tickets museums, booking.",
    "flagged": "The porn of the xxx is in the list of this and that, and it is here for you to see.",
    "no punctuation": "it is the one that we have been to in the past and that you will be in with us all",
}


@pytest.mark.parametrize("fault", BAD)
def test_paragraph_quality(fault: str) -> None:
    assert left("paragraph-quality", make(GOOD, BAD[fault], GOOD)) == [GOOD, GOOD]


def test_short_paragraphs_need_no_punctuation() -> None:
    assert left("paragraph-quality", make("The crow is in the old tree")) == ["The crow is in the old tree"]


def test_each_measure_catches_its_own() -> None:
    """With all other cutoffs open, the measure that a text is bad in is the one that finds it."""
    open_cutoffs = {"min_words": 0, "max_character_repetition": 1, "max_word_repetition": 1, "max_special": 1,
                    "min_stop_words": 0, "max_flagged": 1, "min_punctuation": 0}  # fmt: skip
    for (cutoff, value), text in zip(
        {"min_words": 4, "max_character_repetition": 0.1, "max_word_repetition": 0.1, "max_special": 0.3,
         "min_stop_words": 0.3, "max_flagged": 0.01, "min_punctuation": 0.001}.items(), BAD.values(), strict=True
    ):  # fmt: skip
        assert left("paragraph-quality", make(GOOD, text), **{**open_cutoffs, cutoff: value}) == [GOOD], cutoff
        assert left("paragraph-quality", make(GOOD, text), **open_cutoffs) == [GOOD, text]


def test_document_quality() -> None:
    assert left("document-quality", make(GOOD, b"1")) == [GOOD, "[a.png]"]
    assert left("document-quality", make(BAD["no stop words"], b"1")) == []
    assert left("document-quality", make("The crow is here."), min_words=5) == []
    assert left("document-quality", make(GOOD, GOOD)) == [], "the paragraphs repeat each other"
    german = "Die Krähe baut ihr Nest in den hohen Bäumen des alten Parks, und sie füttert dort im Frühling die Jungen."
    assert left("document-quality", make(german)) == []
    assert left("document-quality", make(german), language="de") == [german]
    with pytest.raises(ValueError, match="unknown language 'deu': did you mean 'de'"):
        build("document-quality", language="deu")


def test_language() -> None:
    german = "Die Krähe baut ihr Nest in den hohen Bäumen des alten Parks, und dort füttert sie ihre Jungen."
    assert left("language", make(GOOD)) == [GOOD]
    assert left("language", make(german)) == []
    assert left("language", make(german), languages=["en", "de"]) == [german]
    assert left("language", make("Zu kurz dafür")) == ["Zu kurz dafür"]
    with pytest.raises(ValueError, match="unknown language 'eng': did you mean 'en'"):
        build("language", languages=["eng"])


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Le corbeau construit son nid dans les grands arbres du vieux parc."),
        ("es", "El cuervo construye su nido en los altos árboles del viejo parque."),
        ("pt", "O corvo constrói o seu ninho nas árvores altas do velho parque, e não sai dele."),
        ("ru", "Ворона вьёт гнездо на высоких деревьях старого парка."),
        ("zh", "乌鸦在旧公园的高树上筑巢。"),
        ("ja", "カラスは古い公園の高い木に巣を作ります。"),
        ("", "1234 -- 5678"),
    ],
)
def test_identify(language: str, text: str) -> None:
    assert identify(text) == language


@pytest.mark.skipif(not (DATA / "stamps").is_dir(), reason="set SENSORIUM_DATA: sensorium data fetch-stamps")
def test_languages_of_real_captions() -> None:
    lines = (DATA / "stamps" / "stamps.jsonl").read_text(encoding="utf-8").splitlines()[1::4]
    captions = [(code[:2], text) for line in lines for code, text in json.loads(line)["captions"].items()]
    long = [(code, text) for code, text in captions if len(words(text)) >= 8]
    assert len(long) > 200
    assert sum(identify(text) == code for code, text in long) > 0.93 * len(long)


def test_repeated_paragraphs_in_and_across_documents() -> None:
    one = build("repeated-paragraphs")
    notice = "We use cookies, and so on."
    first = apply([one], make(GOOD, notice, "Other.", notice.upper() + "!!")).document
    assert shown(first) == [GOOD, notice, "Other."]
    second = make("New text.", notice, "More text.")
    assert shown(apply([one], second).document) == shown(second), "only what was kept counts"
    one.remember(first)
    assert shown(apply([one], second).document) == ["New text.", "More text."]
    mirrored = apply([one], make(GOOD, notice, b"1"))
    assert mirrored.dropped_by == "repeated-paragraphs"
    assert "100%" in mirrored.reason
    apart = build("repeated-paragraphs", across=False)
    apart.remember(first)
    assert shown(apply([apart], make(GOOD, notice, "x", "x")).document) == [GOOD, notice, "x"]


def recompressed(held: bytes) -> bytes:
    picture, buffer = open_picture(held), io.BytesIO()
    picture.resize((picture.width * 2 // 3, picture.height * 2 // 3)).save(buffer, "jpeg", quality=70)
    return buffer.getvalue()


def test_repeated_pictures() -> None:
    plain = [(noise(0, (160, 160)), "a")]
    red, blue = io.BytesIO(), io.BytesIO()
    PILImage.new("RGB", (160, 160), "red").save(red, "png")
    PILImage.new("RGB", (160, 160), "blue").save(blue, "png")
    document = make("t", *plain, (noise(0, (160, 160)), "b"), (recompressed(noise(0)), "c"), (noise(1), "d"),
                    (red.getvalue(), "red"), (blue.getvalue(), "blue"))  # fmt: skip
    assert left("repeated-pictures", document) == ["t", "[a]", "[d]", "[red]", "[blue]"]
    assert left("repeated-pictures", document, distance=None) == ["t", "[a]", "[c]", "[d]", "[red]", "[blue]"]
    assert left("repeated-pictures", make("t", b"no picture")) == ["t"]
    one = build("repeated-pictures", most=2)
    for _ in range(2):
        assert shown(apply([one], make("t", noise(5))).document) == ["t", "[a.png]"]
        one.remember(make("t", noise(5)))
    assert shown(apply([one], make("t", recompressed(noise(5)), noise(6))).document) == ["t", "[a.png]"]
    assert apply([one], make("t", noise(5), noise(6))).cuts[0].reason == "in 2 documents already"


class Redness(Judge, name="test-redness"):
    """Against red pictures and the word red."""

    def picture(self, picture: PIL.Image.Image, address: str, alt: str) -> str | None:
        assert picture.mode == "RGB"
        return "red" if picture.resize((1, 1)).getpixel((0, 0)) == (255, 0, 0) else None

    def text(self, text: str) -> str | None:
        return "says red" if "red" in words(text) else None


def test_your_own_judgement() -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (9, 9), "red").save(buffer, "png")
    document = make("it is blue", (buffer.getvalue(), "r"), (noise(0), "b"), "it is red")
    assert left("test-redness", document) == []
    assert left("test-redness", document, whole=False) == ["it is blue", "[b]"]
    assert left("test-redness", make("it is blue", (noise(0), "b"))) == ["it is blue", "[b]"]


def test_a_document_of_which_nothing_is_left_is_dropped() -> None:
    outcome = apply([build("paragraph-quality"), build("picture-count")], make("Home"))
    assert (outcome.dropped_by, outcome.reason) == ("paragraph-quality", "nothing is left of it")


def test_bloom_filter() -> None:
    seen = BloomFilter(2_000, 0.01)
    for i in range(2_000):
        seen.add(f"text {i}")
    assert all(f"text {i}" in seen for i in range(2_000))
    assert sum(f"new {i}" in seen for i in range(10_000)) < 200
    assert len(BloomFilter(10_000_000, 0.01).memory) < 12.5e6


def test_likeness_index_finds_what_comparing_all_finds() -> None:
    dice = np.random.default_rng(0)
    looks = [int.from_bytes(dice.bytes(16), "big") for _ in range(200)]
    for look in looks[:100]:
        for bit in dice.integers(0, 128, dice.integers(1, 10)):
            look ^= 1 << int(bit)
        looks.append(look)
    prints = [Print(bytes([i // 256, i % 256]), look) for i, look in enumerate(looks)]
    index = LikenessIndex(6)
    for one in prints[:200]:
        index.add(one)
    near = [any((one.look ^ other.look).bit_count() <= 6 for other in prints[:200]) for one in prints[200:]]  # type: ignore
    assert 20 < sum(near) < 100
    assert [index.find(one) is not None for one in prints[200:]] == near


def test_different_pictures_look_different() -> None:
    looks = [print_of(open_picture(noise(seed))).look for seed in range(40)]
    assert all(a is not None for a in looks)
    assert min((a ^ b).bit_count() for i, a in enumerate(looks) for b in looks[:i]) > 12  # type: ignore


# --- the pipeline ---

FILTERS = "filters=[picture-size, repeated-paragraphs, repeated-pictures, picture-count]"


def settings(*changes: str) -> Settings:
    return Settings().override(FILTERS, "shard_size=2", *changes)


@pytest.fixture
def mixed(site: Path) -> Path:
    """Eight files: five that make documents, one without pictures, one mirrored, one damaged; and one of no account."""
    for number, name in enumerate(("a", "b", "deep/c")):
        file = site / f"{name}.htm"
        file.parent.mkdir(exist_ok=True)
        up = "../" * name.count("/")
        notice = "<p>We use cookies on all of the pages of this site, as everybody does.</p>"
        file.write_text(f"<h1>{name}</h1><p>{prose(name)}</p>{notice}<img src='{up}{number}.png'>")
        (site / f"{number}.png").write_bytes(noise(20 + number))
    (site / "mirror.html").write_text((site / "crows.html").read_text())
    (site / "words.html").write_text(f"<p>{prose('wordy')}</p>")
    write_pdf(site / "p.pdf", [*column(["A page of a report."], 60, 60), (noise(7, kind="jpeg"), 60, 100, 90)])
    (site / "damaged.PDF").write_bytes(b"%PDF-")
    (site / "notes.txt").write_text("no document")
    return site


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(out.glob("documents-*.jsonl")) for line in file.open(encoding="utf-8")]


def test_every_file_is_accounted_for(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = make_documents(mixed, out, settings())
    assert report.given == 8 == len(list(find_files(mixed)))
    assert (report.kept, report.dropped, report.refused) == (5, 2, 1)
    assert report.kinds == {"html": 4, "pdf": 1}
    assert json.loads((out / "report.json").read_text())["kept"] == 5
    assert report.filters["picture-count"].documents == report.filters["repeated-paragraphs"].documents == 1
    assert report.filters["repeated-paragraphs"].texts == 2, "the cookies of b and c"
    (refused,) = [json.loads(line) for line in (out / "quarantine.jsonl").open()]
    assert refused["id"] == "damaged.PDF"
    assert "not a readable PDF" in refused["reason"]
    written = records(out)
    assert [one["id"] for one in written] == ["a.htm", "b.htm", "crows.html", "p.pdf", "deep/c.htm"]
    for one in written:
        assert all((text is None) != (image is None) for text, image in zip(one["texts"], one["images"], strict=True))
        assert [figure is None for figure in one["metadata"]] == [image is None for image in one["images"]]
        assert all(open_picture(out / image).size == (200, 160) for image in one["images"] if image)
    crows = written[2]
    assert [image is not None for image in crows["images"]] == [False, True, False, True, False, True, False]
    assert crows["metadata"][1] == {"address": "pictures/crow%201.png", "alt": "A crow"}
    assert (out / crows["images"][1]).read_bytes() == noise(1), "pictures are written as they were"


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(mixed: Path, tmp_path: Path, stop: int) -> None:
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    one = make_documents(mixed, whole, settings())

    def interrupt(report: Any) -> None:
        if report.read == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_documents(mixed, parts, settings(), interrupt)
    assert make_documents(mixed, parts, settings()) == one
    assert contents(parts) == contents(whole)


def test_what_is_done_is_not_done_again_and_what_is_new_is(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first, before = make_documents(mixed, out, settings()), contents(tmp_path / "out")
    (mixed / "crows.html").unlink()
    (mixed / "aa.html").write_text((mixed / "a.htm").read_text().replace(prose("a"), prose("newcomer")))
    asked = []
    from sensorium.documents import pipeline

    monkeypatch.setattr(pipeline, "read_document", lambda *given: asked.append(given[1]) or read_document(*given))
    second = make_documents(mixed, out, settings())
    assert asked == ["aa.html"]
    assert (second.given, second.kept) == (first.given + 1, first.kept + 1)
    assert second.given == second.kept + second.dropped + second.refused
    after = contents(out)
    assert all(after[name] == held for name, held in before.items() if name != "report.json")
    assert records(out)[-1]["texts"] == [prose("newcomer"), None], "title and notice are known from before"


def test_other_settings_need_another_folder(mixed: Path, tmp_path: Path) -> None:
    make_documents(mixed, tmp_path / "out", settings())
    with pytest.raises(ConfigError, match=r"documents\.yaml: made with other settings"):
        make_documents(mixed, tmp_path / "out", settings("pdf_pages=2"))
    with pytest.raises(ConfigError, match="give an output folder outside"):
        make_documents(mixed, mixed / "out", settings())
    with pytest.raises(DataError, match="no such folder"):
        make_documents(tmp_path / "nowhere", tmp_path / "out", settings())


def test_too_many_bad_files_stop_the_run(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than the limit of 0"):
        make_documents(mixed, tmp_path / "out", settings("max_refused=0"))
    assert make_documents(mixed, tmp_path / "other", settings("max_refused=1")).refused == 1


def test_what_is_not_installed_stops_the_run_at_once(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(ConfigError, match=r"trafilatura': pip install 'sensorium\[documents\]'"):
        make_documents(mixed, tmp_path / "out", settings())


def test_the_page_shows_what_was_taken_out(mixed: Path, tmp_path: Path) -> None:
    (mixed / "0.html").write_text(f"<p>{prose('<b>bold</b>')}</p><p>&lt;script&gt;{prose('x')}</p>")
    (mixed / "small.png").write_bytes(noise(30, (20, 20)))
    (mixed / "1.html").write_text(f"<p>{prose('small')}</p><img src='small.png'>")
    out = tmp_path / "out"
    written = write_documents_page(mixed, out, make_documents(mixed, out, settings())).read_text()
    assert "&lt;script&gt;In the spring" in written
    assert "<script>" not in written
    assert "20 x 20 pixels, not 150 to 20000 a side" in written
    assert "data:image/png;base64," in written
    assert "damaged.PDF" in written


def test_the_command(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["data", "documents", str(mixed), str(out), FILTERS])
    assert result.exit_code == 0, result.output
    helped = CliRunner().invoke(app, ["data", "documents", "--help"]).stdout
    assert "sensorium data documents site documents" in helped.split("Examples")[1]
    assert "8 of 8 files: 5 kept, 2 dropped, 1 refused" in result.stdout
    assert (out / "report.html").is_file()
    again = CliRunner().invoke(
        app, ["data", "documents", str(mixed), str(tmp_path / "b"), "--config", str(out / "documents.yaml"), "-q"]
    )
    assert (again.exit_code, again.stdout) == (0, "")
    assert records(tmp_path / "b") == records(out)
    wrong = CliRunner().invoke(app, ["data", "documents", str(mixed), str(out), "filters.2.min_sid=3"])
    assert wrong.exit_code == 2
    assert "min_side" in wrong.stderr


def test_the_default_filters_keep_the_article_and_not_the_site_around_it(site: Path, tmp_path: Path) -> None:
    other = (
        "When the leaves have gone, you find the old nests at the top of a bare beech, and no one lives in them now."
    )
    body = f"<p>{GOOD}</p><img src='pictures/nest.png'><p>Read more</p><p>{other}</p><img src='logo.png'>"
    page(site, body + f"<p>{prose('crow')}</p><img src='pictures/crow 1.png'><p>{GOOD}</p>")
    report = make_documents(site, tmp_path / "out", Settings())
    assert (report.given, report.kept) == (2, 1)
    assert report.filters["document-quality"].documents == 1, "the sentences of the other page repeat each other"
    (document,) = records(tmp_path / "out")
    assert document["texts"] == [GOOD, None, f"{other}\n\n{prose('crow')}", None]
    assert [one and one["address"] for one in document["metadata"]] == [
        None, "pictures/nest.png", None, "pictures/crow 1.png",
    ]  # fmt: skip


def test_documents_do_not_import_torch() -> None:
    code = "import sys, sensorium.documents.pipeline, sensorium.pages.documents; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
