"""Files of a folder to documents, whatever they are written in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from sensorium.config import Config
from sensorium.data.folder import Folder
from sensorium.documents.document import Reading
from sensorium.documents.html import read_html
from sensorium.documents.pdf import read_pdf
from sensorium.errors import DataError, SensoriumError
from sensorium.sample import Sample

KINDS = {".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf"}


class Limits(Config):
    """What is too large to be read."""

    html_bytes: int = Field(default=20_000_000, ge=1, description="of a page, its pictures not counted")
    pdf_bytes: int = Field(default=50_000_000, ge=1, description="MINT-1T (2406.11271) has the same two limits")
    pdf_pages: int = Field(default=50, ge=1)


def find_files(folder: Path) -> Iterator[str]:
    """The paths of all web pages and PDFs below a folder, relative to it, in the order of their names. Links to other
    folders are not followed."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in KINDS:
                yield (Path(place) / name).relative_to(folder).as_posix()


def read_document(folder: Path, relative: str, limits: Limits | None = None) -> Sample:
    """The document in a file of a folder; its id is the path. A `DataError` that names the file if it cannot be read,
    is too large or is a link that leads out of the folder."""
    limits, name = limits or Limits(), f"{folder.name}/{relative}"
    try:
        relative.encode()
        Folder(folder).find(relative, name)
        return _read(folder / relative, folder, relative, name, limits).document(relative, folder.name)
    except SensoriumError:
        raise
    except Exception as error:  # parsers of what is found in the wild raise anything, and no file may end a run
        raise DataError(f"{name}: {type(error).__name__}: {error}; replace or remove the file") from error


def _read(file: Path, folder: Path, relative: str, name: str, limits: Limits) -> Reading:
    match KINDS.get(file.suffix.lower()):
        case "html":
            return read_html(folder, relative, name, limits.html_bytes)
        case "pdf":
            return read_pdf(file, name, limits.pdf_bytes, limits.pdf_pages)
    raise DataError(f"{name}: not a web page and not a PDF; files that are read end in {', '.join(KINDS)}")
