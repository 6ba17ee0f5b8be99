"""How many FactorWorld samples one core makes in a second: scene, questions and picture.

Run `python benchmarks/factorworld.py`, with `--json` for a line that programs read. There is no peer to compare with:
none of them generates its pictures while it trains.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from sensorium.data.sources.factorworld import FactorWorld
from sensorium.sample import Picture, Sample


def rate(source: FactorWorld, samples: int, chunks: int = 5) -> float:
    """Samples a second of processor time with pictures opened: the median of some chunks, after a warm-up."""
    rates = []
    for chunk in range(chunks + 1):
        began = time.process_time()
        for index in range(chunk * samples, (chunk + 1) * samples):
            show(source[index])
        rates.append(samples / (time.process_time() - began))
    return sorted(rates[1:])[chunks // 2]


def show(sample: Sample) -> None:
    """Open every picture of a sample."""
    for image in sample.images:
        assert isinstance(image.source, Picture)
        image.source.open()


def cases(size: int) -> dict[str, dict[str, Any]]:
    """What is measured: by name, the config of a source."""
    square = {"size": (size, size)}
    return {
        "chat": square,
        "chat, half with writing": {**square, "writing": 0.5},
        "short captions": {**square, "style": "short"},
        "dense captions": {**square, "style": "dense"},
        "documents": {**square, "style": "document"},
        "chat at 224 x 224": {"size": (224, 224)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="width and height of the pictures in pixels")
    parser.add_argument("--samples", type=int, default=500, help="samples in each of five chunks")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    rates = {}
    for name, config in cases(options.size).items():
        rates[name] = round(rate(FactorWorld(FactorWorld.Config.from_dict(config)), options.samples))
        if not options.json:
            print(f"{name:26}{rates[name]:7} samples/s on one core", flush=True)
    if options.json:
        print(json.dumps({"benchmark": "factorworld", "size": options.size, "samples_per_second": rates}))


if __name__ == "__main__":
    main()
