"""Whether the loader stays as it is over a million samples: its memory, and how soon it goes on from far inside.

Run `python benchmarks/scale.py [--json FILE]`. It makes tar shards of small pictures with captions in a temporary
folder (2 GB for a million: a tar member takes at least 1 KiB), reads them once as training would, and notes the memory
of the process and its workers after 10 000 samples and after all: RSS, and PSS, which counts once what they share but
changes with what other programs share. Then processes of their own start at 0 and at nine tenths, in turns; the rows
that these read must be those of the run in one go. `within_bounds` says whether memory grew by at most 5 % and a start
at nine tenths took at most twice one at 0.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

import torch

from sensorium.data.batch import Batch
from sensorium.data.index import CACHE
from sensorium.data.loader import Loader
from sensorium.recipe import find_recipe
from sensorium.training.stage_run import reading

SIDE, EARLY, COMPARED = 16, 10_000, 5
WORDS = ("one", "two", "three", "four", "five", "six", "red", "green", "blue", "grey", "round", "long", "a", "small")


def png(number: int) -> bytes:
    """A picture of SIDE x SIDE pixels in colours that only this number has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    colours = number.to_bytes(3, "big")
    rows = b"".join(b"\0" + (colours if row & 1 else colours[::-1]) * SIDE for row in range(SIDE))
    head = SIDE.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def caption(number: int) -> str:
    """A sentence of 6 to 14 words that only this number has."""
    dice = zlib.crc32(b"%d" % number)
    said = " ".join(WORDS[(dice >> place) % len(WORDS)] for place in range(5 + dice % 9))
    return f"{said} {number}"


def make_shards(folder: Path, shards: int, each: int) -> None:
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03}.tar", "w", format=tarfile.USTAR_FORMAT) as opened:
            for number in range(shard * each, (shard + 1) * each):
                for ending, data in (("png", png(number)), ("txt", caption(number).encode())):
                    info = tarfile.TarInfo(f"{number:07}.{ending}")
                    info.size = len(data)
                    opened.addfile(info, io.BytesIO(data))
                opened.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all


def loader(folder: Path, workers: int) -> Loader:
    """That of a stage whose only source are the shards."""
    data = json.dumps([{"source": {"type": "captions", "folder": str(folder)}}])
    small = (f"model.encoder.image_size={SIDE}", "model.encoder.patch_size=8", "model.connector=linear")
    rows = ("stages.0.length=2048", "stages.0.rows=4", "stages.0.buffer=256")
    recipe = find_recipe("demo", *small, *rows, f"stages.0.data={data}")
    config = recipe.model.resolved()
    return Loader(reading(recipe, 0, config.layout(config.make_tokenizer())), recipe.stages[0].rows, workers=workers)


def memory() -> dict[str, float]:
    """MB of this process and of its descendants in all: PSS and RSS."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    own = [os.getpid()]
    for process in own:
        own += [child for child, parent in parents.items() if parent == process]
    pss = rss = 0.0
    for process in own:
        lines = (Path("/proc") / str(process) / "smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) / 1024 for name, _, size in (line.partition(":") for line in lines)}
        pss, rss = pss + sizes["Pss"], rss + sizes["Rss"]
    return {"pss": pss, "rss": rss}


def digest(batches: list[Batch]) -> str:
    """All that a step gives to a model, and which samples it is made of."""
    found = hashlib.sha256()
    for batch in batches:
        found.update(repr((batch.samples, batch.keys)).encode())
        for tensor in (batch.ids, batch.supervised, batch.positions, batch.documents, batch.media, batch.tiles):
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def start(folder: Path, state: Path | None, workers: int) -> dict[str, Any]:
    """Seconds to the first batch, from the state in a file or from 0, and what the first steps hold."""
    began = time.perf_counter()
    steps = loader(folder, workers)
    ready = time.perf_counter()  # the tokenizer is made, which every start does alike
    if state:
        steps.restore(json.loads(state.read_text()))
    found = [digest(steps.next_step())]
    seconds = {"first_batch": time.perf_counter() - ready, "with_tokenizer": time.perf_counter() - began}
    found += [digest(steps.next_step()) for _ in range(COMPARED - 1)]
    steps.close()
    return {**seconds, "digests": found}


def start_apart(folder: Path, state: Path | None, workers: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--workers", str(workers), "--start"]
    done = subprocess.run([*command, *([str(state)] if state else [])], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def read(steps: Loader, samples: int, state: Path) -> Iterator[tuple[str, Any]]:
    """Read so many samples; yields what is measured. The state at nine tenths goes to a file."""
    taken, marks, after = 0, [EARLY, *range(samples // 10, samples, samples // 10), samples], []
    began = time.perf_counter()
    while taken < samples:
        batches = steps.next_step()
        taken += sum(len(row) for batch in batches for row in batch.samples)
        if state.exists() and len(after) < COMPARED:
            after.append(digest(batches))
        if taken >= samples * 9 // 10 and not state.exists():
            state.write_text(json.dumps(steps.state()))
            yield "restored_at", taken
        if marks and taken >= marks[0]:
            marks = [mark for mark in marks if mark > taken]
            yield "memory", {"samples": taken, "seconds": time.perf_counter() - began, **memory()}
    yield "digests", after


def measure(folder: Path, samples: int, workers: int, rounds: int) -> dict[str, Any]:
    """All numbers, of shards that lie in the folder."""
    cold, state, memories, found = start_apart(folder, None, workers), folder / "state.json", [], {}
    steps = loader(folder, workers)
    for name, value in read(steps, samples, state):
        print(name, value, flush=True)
        memories += [value] if name == "memory" else []
        found[name] = value
    steps.close()
    turns = [(start_apart(folder, None, workers), start_apart(folder, state, workers)) for _ in range(rounds)]
    other = start_apart(folder, state, 0)
    from_0, from_far = (statistics.median(turn[which]["first_batch"] for turn in turns) for which in (0, 1))
    growth = {kind: memories[-1][kind] / memories[0][kind] for kind in ("pss", "rss")}
    wait = from_far / from_0
    same = all(turn[1]["digests"] == found["digests"] for turn in turns) and other["digests"] == found["digests"]
    return {
        "samples": memories[-1]["samples"],
        "samples_per_second": memories[-1]["samples"] / memories[-1]["seconds"],
        "memory_mb": memories,
        "memory_ratio": max(growth.values()),
        "memory_ratios": growth,
        "state_bytes": state.stat().st_size,
        "restored_at": found["restored_at"],
        "first_batch_seconds": {"indexing": cold["first_batch"], "from_0": from_0, "restored": from_far},
        "first_batch_ratio": wait,
        "same_rows": same,
        "within_bounds": max(growth.values()) <= 1.05 and wait <= 2 and same,
    }


def main() -> int:
    """Make the shards, measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--each", type=int, default=10_000, help="samples of a shard")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--folder", type=Path, help="shards that are there already")
    parser.add_argument("--start", nargs="?", const="", metavar="STATE", help="only start, from a state or from 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.start is not None:
        state = Path(options.start) if options.start else None
        print(json.dumps(start(options.folder, state, options.workers)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[CACHE] = str(Path(temporary) / "cache")
        folder = options.folder or Path(temporary)
        if options.folder is None:
            make_shards(folder, options.shards, options.each)
        result = measure(folder, options.shards * options.each, options.workers, options.rounds)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")
    return int(not result["within_bounds"])


if __name__ == "__main__":
    sys.exit(main())
