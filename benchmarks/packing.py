"""How full packed rows are, and how long samples wait for theirs.

Run `python benchmarks/packing.py` for FactorWorld alone, `--data FOLDER` with the folder that holds `stamps` and
`emoji` for the mixture of all three; `--json FILE` writes the numbers. A sample is delayed beyond the buffer if it
leaves more than the buffer's size later than it would have in the order in which samples are drawn.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from sensorium.data.packing import Packing
from sensorium.data.share import Share
from sensorium.data.stream import Reading
from sensorium.model import ModelConfig
from sensorium.recipe import find_recipe


def mixture(folder: Path | None) -> tuple[Share, ...]:
    """FactorWorld's chats and, given their folder, stamps and emoji with their names and labels."""
    shares: list[dict[str, Any]] = [{"source": "factorworld"}]
    if folder:
        captions = {"type": "jsonl", "folder": str(folder / "stamps"), "file": "stamps.jsonl", "style": "caption"}
        shares.append({"source": captions | {"caption": "{captions.en}"}})
        named = {"type": "tar", "folder": str(folder / "emoji"), "style": "caption", "caption": "{labels.en}"}
        shares.append({"source": named})
    return tuple(Share.from_dict(share) for share in shares)


def measure(reading: Reading, packs: int) -> dict[str, float]:
    """Efficiency, share of delayed samples and samples a second of a packer, from so many packs."""
    packer = reading.packer(lambda refusal: None)
    drawn: dict[str, int] = {}
    next_key = packer.mixture.next_key

    def numbered() -> Any:
        key = next_key()
        drawn[f"{key}/{len(drawn)}"] = len(drawn)
        return key

    packer.mixture.next_key = numbered  # type: ignore[method-assign]
    order: list[str] = []
    tokens, began = 0, time.perf_counter()
    for pack in islice(iter(packer.next_pack, None), packs):
        tokens += sum(map(len, pack))
        order += [str(key) for key in pack.keys]
    seconds = time.perf_counter() - began
    places: dict[str, list[int]] = {}
    for name, place in drawn.items():
        places.setdefault(name.partition("/")[0], []).append(place)
    late = sum(left - places[key].pop(0) > reading.buffer for left, key in enumerate(order))
    return {
        "efficiency": tokens / (packs * reading.length),
        "delayed": late / len(order),
        "samples_per_second": len(order) / seconds,
    }


def main() -> None:
    """Measure every way of packing, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--buffer", type=int, default=256)
    parser.add_argument("--packs", type=int, default=300)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    config = find_recipe("demo").model
    config = ModelConfig.from_dict({**config.to_dict(), "connector": "linear", "context": options.length}).resolved()
    layout, result = config.layout(config.make_tokenizer()), {}
    for method in get_args(Packing):
        reading = Reading(
            mixture(options.data), 0, layout, rows=1, length=options.length, buffer=options.buffer, packing=method
        )
        result[method] = measure(reading, options.packs)
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in result[method].items())
        print(f"{method:22}{numbers}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
