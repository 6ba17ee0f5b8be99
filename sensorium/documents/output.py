"""The folder that documents are written to: shards of JSON lines in the form of OBELICS, pictures by their hash, and
beside each shard the ledger of the files it was made from.

A shard counts once its ledger is in place, which is written last; what a run that was stopped had begun is made
again, the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from sensorium.atomic import write_file
from sensorium.data.images import open_picture
from sensorium.documents.document import Figure, Picture, Reading, figure_of, joined, name_of
from sensorium.documents.ledger import Entry
from sensorium.errors import DataError
from sensorium.sample import Image, PictureSource, Sample, Text

THUMBNAIL = 160
"""Pixels of the longer side of a picture that is shown as an example."""


@dataclass(frozen=True)
class DocumentFolder:
    """A folder of documents, written shard by shard."""

    place: Path

    def shards(self) -> int:
        """How many shards are complete."""
        return len(self._ledgers())

    def _ledgers(self) -> list[Path]:
        return sorted(self.place.glob("ledger-*.jsonl"))

    def entries(self) -> Iterator[Entry]:
        """What became of every file so far, in order."""
        for ledger in self._ledgers():
            for line in _lines(ledger):
                yield Entry.from_json(line)

    def documents(self) -> Iterator[Sample]:
        """The documents that are in the folder, in order, as they were written."""
        for ledger in self._ledgers():
            shard = self.place / ledger.name.replace("ledger-", "documents-")
            yield from (document_of(line, self.place) for line in _lines(shard))

    def commit(self, records: Sequence[dict[str, Any]], entries: Sequence[Entry]) -> None:
        """Write the next shard and its ledger."""
        number = f"{self.shards():05d}.jsonl"
        write_lines(self.place / f"documents-{number}", records)
        write_lines(self.place / f"ledger-{number}", [asdict(entry) for entry in entries])

    def record(self, document: Sample) -> dict[str, Any]:
        """A document as a line: `texts` and `images`, of which one is null at each place; `metadata` says at the same
        places what the page said of the picture. Its pictures are stored."""
        segments = joined(document).segments
        images = [self.store(one, name_of(document, one)) if isinstance(one, Image) else None for one in segments]
        figures = [asdict(figure_of(document, one)) if isinstance(one, Image) else None for one in segments]
        absent: Any = document.meta["absent"]
        return {
            "id": document.id,
            "texts": [one.text if isinstance(one, Text) else None for one in segments],
            "images": images,
            "metadata": figures,
            "general_metadata": {
                "kind": document.meta["kind"],
                "title": document.meta["title"],
                "absent": [asdict(figure) for figure in absent],
            },
        }

    def store(self, image: Image, name: str) -> str:
        """Put a picture's file, as it is, under its hash; its path in the folder."""
        held = file_of(image.source, name)
        try:
            with PILImage.open(io.BytesIO(held)) as picture:
                ending = (picture.format or "bin").lower()
        except Exception as error:
            raise DataError(f"{name}: no readable picture ({error}); the filter picture-size cuts such") from None
        digest = hashlib.sha256(held).hexdigest()[:32]
        return self._put(Path("images") / digest[:2] / f"{digest}.{ending}", held)

    def thumbnail(self, image: Image, name: str) -> str:
        """A small copy of a picture, its path in the folder; "" if it cannot be opened."""
        try:
            picture = open_picture(image.source, name)
        except DataError:
            return ""
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        picture.save(buffer, "jpeg", quality=80)
        held = buffer.getvalue()
        return self._put(Path("examples") / f"{hashlib.sha256(held).hexdigest()[:16]}.jpg", held)

    def _put(self, path: Path, held: bytes) -> str:
        if not (self.place / path).is_file():
            write_file(self.place / path, held)
        return path.as_posix()


def document_of(record: dict[str, Any], folder: Path) -> Sample:
    """The document in a line that `DocumentFolder.record` made."""
    general = record["general_metadata"]
    reading = Reading(general["kind"], general["title"], absent=[Figure(**one) for one in general["absent"]])
    for text, image, said in zip(record["texts"], record["images"], record["metadata"], strict=True):
        reading.pieces.append(Picture(folder / image, Figure(**said)) if image else text)
    return reading.document(record["id"], folder.name)


def file_of(source: PictureSource, name: str) -> bytes:
    """The encoded picture; a `DataError` of one that has no file."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str | Path):
        raise DataError(f"{name}: a {type(source).__name__} has no file to be copied; give a path or bytes")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {error}; restore the file") from None


def write_lines(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    """JSON lines, the file there whole or not at all."""
    write_file(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace"))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as opened:
        yield from map(json.loads, opened)
