"""docs/data.md says what is so: its examples are written as they stand there, read as its recipes say, and compared."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as PILImage

from sensorium.data.files import Stored
from sensorium.data.source import Source
from sensorium.sample import Image, Segment, Text

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
SECTIONS = dict(re.findall(r"^### ([a-z0-9]+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {name: text for name, text in SECTIONS.items() if "```yaml" in text}
PICTURE = re.compile(r"[\w/-]+\.(?:png|jpg)")


def picture(name: str) -> bytes:
    """A picture that only this name has."""
    buffer = io.BytesIO()
    kind = "jpeg" if name.endswith("jpg") else "png"
    PILImage.new("RGB", (6, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(buffer, kind)
    return buffer.getvalue()


def write(folder: Path, name: str, text: str) -> None:
    """The file that a block describes, and the pictures it names."""
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    if name.endswith(".tar"):
        with tarfile.open(file, "w") as opened:
            for line in text.splitlines():
                member, _, said = line.partition(": ")
                data = said.encode() if said else picture(member)
                info = tarfile.TarInfo(member)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
        return
    if name.endswith(".parquet"):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows = [json.loads(line) for line in text.splitlines()]
        for row in rows:
            row["images"] = [{"bytes": picture(one["bytes"]), "path": None} for one in row["images"]]
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif not PICTURE.fullmatch(name):
        file.write_text(text)
    for found in PICTURE.findall(f"{name} {text}"):
        (folder / found).write_bytes(picture(found))


def told(segment: Segment, names: list[str]) -> str:
    """A segment as the page writes it; a picture without a name of its own by its bytes."""
    if isinstance(segment, Text):
        return f"{segment.role} {segment.text}{' *' if segment.supervise else ''}"
    assert isinstance(segment, Image)
    raw = segment.source
    if isinstance(raw, Path):
        raw = raw.read_bytes()
    if isinstance(raw, Stored):
        raw = raw.read()
    (name,) = {name for name in names if picture(name) == raw or picture(Path(name).name) == raw}
    return f"{segment.role} [{name}]"


def test_every_source_is_on_the_page() -> None:
    from sensorium.config import part_names

    ours = {name for name in part_names("source") if name != "factorworld"}
    listed = set(re.findall(r"^\| \[`(\w+)`\]", PAGE, re.MULTILINE))
    assert listed == set(EXAMPLES) | {"sensorium"}
    assert listed <= ours


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_read_as_the_page_says(name: str, tmp_path: Path) -> None:
    text = EXAMPLES[name]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    recipe: Any = yaml.safe_load(next(block for kind, block in blocks if kind == "yaml"))
    for _, block in blocks:
        if head := re.match(r"# file: (\S+)\n", block):
            write(tmp_path, head[1], block[head.end() :])
    source = Source.Config.from_dict({**recipe, "folder": str(tmp_path)}).build()
    expected = blocks[-1][1].splitlines()
    names = sorted({line.partition("[")[2].rstrip("]") for line in expected if line.endswith("]")})
    assert [told(segment, names) for segment in source[0].segments] == expected


def test_the_page_s_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(picture("cat.png"))
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/data.md", "exec"), {})
