"""Tables as text, in which every cell stays where it is whatever stands in it."""

from __future__ import annotations

from sensorium.errors import DataError
from sensorium.sample import Table, Text

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
IN_MARKDOWN = str.maketrans({"\\": "\\\\", "|": "\\|", "\n": "<br>", "\r": "<br>"})


def text_of(segment: Text | Table, name: str = "text") -> str:
    """What a model reads: the text as it is, a table as Markdown on lines of its own. A `DataError` that begins with
    `name` for half characters, which broken escapes leave and no tokenizer takes."""
    text = segment.text if isinstance(segment, Text) else f"\n{as_markdown(segment)}\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name}: the text {text[:60]!r} is no Unicode ({error}); correct or remove it") from None
    return text


def as_markdown(table: Table) -> str:
    """A table of GitHub Flavored Markdown (section 4.10 of its specification), one row a line. A table without a
    header has an empty one, which the format demands. Bars and backslashes are escaped, line ends become `<br>`."""
    header = table.header or ("",) * len(table.rows[0])
    lines = [header, ("---",) * len(header), *table.rows]
    return "\n".join(f"| {' | '.join(_shown(cell) for cell in line)} |" for line in lines)


def _shown(cell: str) -> str:
    return cell.replace("\r\n", "\n").translate(IN_MARKDOWN)


def as_plain(table: Table) -> str:
    """One row a line, cells apart by tabs, the header first if there is one. Tabs, line ends and backslashes in cells
    are escaped as `\\t`, `\\n`, `\\r` and `\\\\`, so nothing is lost."""
    lines = [table.header, *table.rows] if table.header else table.rows
    return "\n".join("\t".join(cell.translate(ESCAPES) for cell in line) for line in lines)
