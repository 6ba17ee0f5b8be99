"""Whether scoring on Ray gives the columns and selections of scoring here, to the bit, and what it takes.

Run `python benchmarks/ray_scores.py` (`pip install 'sensorium[ray]'`), with `--json` for a line that programs read; ten
minutes on two cores. Noisy captions of FactorWorld are scored by scorers that need no model, first in this process and
then by workers of a Ray that is begun for each; seconds are of the clock, whatever else the machine does, and those
of Ray have its beginning and end in them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.config import find_part
from sensorium.curation.choose import choose
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.sources.noisy import Noisy

SCORERS = ("text-quality", "picture-hash", "minhash", "text-features")
SELECTORS: dict[str, tuple[dict[str, Any], float | None]] = {
    "unique-pictures": ({"type": "unique-pictures", "distance": 8}, None),
    "unique-texts": ({"type": "unique-texts"}, None),
    "top": ({"type": "top", "column": "text-quality.characters"}, 0.1),
}
"""What selects, and the share that it is asked for."""


def same_files(here: Path, there: Path) -> tuple[int, int]:
    """How many files of two folders are equal in name and bytes, and how many there are."""
    names = {file.name for folder in (here, there) for file in folder.iterdir()}
    pairs = [(here / name, there / name) for name in names]
    equal = sum(a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes() for a, b in pairs)
    return equal, len(names)


def same_selection(name: str, out: Path) -> tuple[bool, int]:
    """Whether what is selected from both columns is the same, and how much it is."""
    settings, share = SELECTORS[name]
    selector: Any = find_part("selector", name).model_validate(settings)
    kept = [choose(out / place, selector, out / f"{place}-{name}", share=share)[0][0] for place in ("here", "ray")]
    equal = kept[0].source == kept[1].source and np.array_equal(kept[0].indices, kept[1].indices)
    return equal, len(kept[0].indices)


def run(out: Path, samples: int, size: int, workers: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Score in both ways, compare, select from both, compare."""
    world = FactorWorld.Config(style="short", scenes=samples, size=(size, size))
    pool = Pool(sources=(Noisy.Config(source=world),))
    for place in ("here", "ray"):
        pool.claim(out / place)
    columns: dict[str, Any] = {}
    say(f"{'scorer':16}{'here, s':>9}{'Ray, s':>9}{'equal files':>14}")
    for name in SCORERS:
        config: Any = find_part("scorer", name)()
        seconds, folders = [], []
        for place, number in (("here", 0), ("ray", workers)):
            began = time.perf_counter()
            (written,) = score(pool.sources, config, out / place, ray=number)
            seconds.append(round(time.perf_counter() - began, 1))
            folders.append(written.folder)
        equal, files = same_files(*folders)
        columns[name] = {"here": seconds[0], "ray": seconds[1], "equal": equal, "files": files}
        say(f"{name:16}{seconds[0]:9.1f}{seconds[1]:9.1f}{f'{equal} of {files}':>14}")
    selections = {}
    for name in SELECTORS:
        began = time.perf_counter()
        equal, kept = same_selection(name, out)
        selections[name] = {"equal": equal, "kept": kept}
        word = "the same" if equal else "DIFFERENT"
        say(f"{name:16}{kept} of {samples} kept, {word} ({time.perf_counter() - began:.0f} s for both)")
    return {
        "samples": samples,
        "workers": workers,
        "cores": os.cpu_count(),
        "columns": columns,
        "selections": selections,
    }


def main() -> None:
    """Measure and print; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=32, help="pixels of a side of the pictures")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a folder to keep everything in")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
        found = run(options.out or Path(temporary), options.samples, options.size, options.workers, say)
    if options.json:
        print(json.dumps({"benchmark": "ray_scores", **found}))
    same = all(one["equal"] == one["files"] for one in found["columns"].values())
    sys.exit(0 if same and all(one["equal"] for one in found["selections"].values()) else 1)


if __name__ == "__main__":
    main()
