"""Our own form: samples as JSON lines with their pictures as files beside them, written and read without loss."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from PIL import Image as PILImage
from pydantic import Field

from sensorium.data.files import Stored
from sensorium.data.images import open_picture
from sensorium.data.record_table import Record
from sensorium.data.references import medium, read_bytes
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Image, PictureSource, Region, Role, Sample, Segment, Text

LINES, MEDIA = "data.jsonl", "media"


class Sensorium(TableSource, name="sensorium"):
    """What `write_jsonl` wrote: the same samples, with the same bytes as pictures."""

    class Config(TableConfig):
        file: str = Field(default=LINES, min_length=1, description=TableConfig.model_fields["file"].description)

    config: Config

    def __getitem__(self, index: int) -> Sample:
        record = self.table.read(int(self.kept[index]))
        return self.sample(record, record.fields.get("id", ""))

    def sample(self, record: Record, id: str) -> Sample:
        fields, name = record.fields, record.name
        parts, meta = fields.get("segments"), fields.get("meta", {})
        if not isinstance(parts, list) or not isinstance(meta, dict):
            raise DataError(f"{name}: expected a list 'segments' and an object 'meta'; write it with write_jsonl")
        segments = tuple(self._segment(part, f"segments.{n}", name) for n, part in enumerate(parts))
        return Sample(segments, id=id, source=fields.get("source", ""), meta=meta)

    def _segment(self, part: Any, field: str, name: str) -> Segment:
        try:
            common: dict[str, Any] = {key: part[key] for key in ("role", "supervise", "id") if key in part}
            if common.get("role", "user") not in get_args(Role):
                raise ValueError(f"no role {common['role']!r}; expected one of {', '.join(get_args(Role))}")
            if part["type"] == "text" and isinstance(part["text"], str):
                return Text(text=part["text"], **common)
            if part["type"] == "image":
                regions = tuple(Region(tuple(box["box"]), box["text"]) for box in part.get("regions", ()))
                source = medium(part["file"], self.media, f"{field}.file", name)
                return Image(source=source, regions=regions, **common)
            raise ValueError(f"no type {part['type']!r}; expected text or image")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{name}: {field} is {part!r:.60}: {error!r}; write it with write_jsonl") from None


def write_jsonl(samples: Iterable[Sample], folder: str | Path) -> int:
    """Write samples into a folder, whose source is then `{type: sensorium, folder: ...}`; returns how many.

    Pictures are copied byte for byte into files that are called by their hash, so that equal ones are one file; what a
    program draws becomes PNG. A `DataError` for a sample that would not come back as it is: a segment that is no text
    or picture, a `meta` that JSON changes, a picture that cannot be read. The lines appear when all are written.
    """
    folder = Path(folder)
    lines, unfinished = folder / LINES, folder / f"{LINES}.unfinished"
    if lines.exists():
        raise DataError(f"{lines}: is there already; give an empty folder")
    (folder / MEDIA).mkdir(parents=True, exist_ok=True)
    count = 0
    with unfinished.open("wb") as opened:
        for sample in samples:
            line = json.dumps(_plain(sample, folder), ensure_ascii=False, separators=(",", ":"))
            opened.write(line.encode("utf-8", "surrogatepass") + b"\n")
            count += 1
    unfinished.replace(lines)
    return count


def _plain(sample: Sample, folder: Path) -> dict[str, Any]:
    segments = [_part(segment, sample.name, folder) for segment in sample.segments]
    try:
        same = json.loads(json.dumps(sample.meta, allow_nan=False)) == sample.meta  # tuples are not
    except (TypeError, ValueError):
        same = False
    if not same:
        raise DataError(f"{sample.name}: JSON cannot hold its meta {sample.meta!r:.80}; keep plain values in it alone")
    return {"id": sample.id, "source": sample.source, "segments": segments, "meta": sample.meta}


def _part(segment: Segment, name: str, folder: Path) -> dict[str, Any]:
    common = {"role": segment.role, "supervise": segment.supervise, "id": segment.id}
    if type(segment) is Text:
        return {"type": "text", "text": segment.text, **common}
    if type(segment) is Image:
        regions = [{"box": region.box, "text": region.text} for region in segment.regions]
        return {"type": "image", "file": _file(segment.source, name, folder), "regions": regions, **common}
    raise DataError(f"{name}: a {type(segment).__name__} is not written yet; only Text and Image are")


def _file(source: PictureSource, name: str, folder: Path) -> str:
    """Copy a picture into the folder of media; its path there."""
    if isinstance(source, str):
        source = Path(source)
    if isinstance(source, Path | Stored | bytes):
        raw = read_bytes(source)
    else:
        drawn = io.BytesIO()
        open_picture(source, name).save(drawn, "png")
        raw = drawn.getvalue()
    try:
        with PILImage.open(io.BytesIO(raw)) as opened:
            ending = (opened.format or "bin").lower()
    except Exception as error:
        raise DataError(f"{name}: its picture cannot be read ({error}); leave the sample out") from None
    path = f"{MEDIA}/{hashlib.sha256(raw).hexdigest()[:32]}.{ending}"
    if not (file := folder / path).exists():
        file.write_bytes(raw)
    return path
