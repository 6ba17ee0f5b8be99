"""Addresses of pictures to pictures: of files beside a page, or written into the address. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from sensorium.data.folder import Folder
from sensorium.errors import DataError
from sensorium.sample import PictureSource

DATA = re.compile(r"data:image/[\w.+-]+(;[^,;]*)*?(?P<base64>;base64)?,(?P<data>.*)", re.IGNORECASE | re.DOTALL)


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
            return Folder(self.root).find(str(place), self.page.name).plain if path else None
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
