"""How fast the loader alone delivers samples, beside a `torch.utils.data.DataLoader` with transformers' processor of
LLaVA-NeXT: the same JPEG files, text, tiles and number of worker processes, in turns of one run.

Run `python benchmarks/data.py --pictures FOLDER` with a folder of pictures (they are made 640 pixels wide first);
without it, FactorWorld draws them. `--json FILE` writes the numbers: `ratio` is ours to the peer's, of samples a
second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

import torch
import transformers
from PIL import Image as PILImage

from sensorium.data.loader import Loader
from sensorium.data.share import Share
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.stream import Reading
from sensorium.model import ModelConfig
from sensorium.recipe import find_recipe

TILE, ROW = 336, 2048
QUESTION, ANSWER = "What is in the picture?", "a thing on a background, drawn with care"


def pictures(folder: Path | None, count: int, out: Path) -> list[Path]:
    """So many JPEG files 640 pixels wide, of a folder's pictures or of drawn ones."""
    found = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".jpeg")) if folder else []
    drawn = FactorWorld(FactorWorld.Config(size=(160, 120)))
    files = []
    for number in range(count):
        source: Any = drawn[number].images[0].source
        picture = PILImage.open(found[number % len(found)]) if found else source.open()
        picture = picture.convert("RGB")
        wide = picture.resize((640, round(640 * picture.height / picture.width)), PILImage.Resampling.BICUBIC)
        files.append(out / f"{number}.jpg")
        wide.save(files[-1], quality=90)
    return files


def ours(files: list[Path], workers: int) -> tuple[Callable[[], Iterator[tuple[int, int]]], Any]:
    """Steps of the loader as (samples, tiles), and the tokenizer that both use."""
    folder = files[0].parent
    lines = [json.dumps({"id": str(n), "image": file.name, "caption": ANSWER}) for n, file in enumerate(files)]
    (folder / "data.jsonl").write_text("\n".join(lines))
    config = find_recipe("demo", f"model.encoder.image_size={TILE}", "model.encoder.patch_size=16").model
    config = ModelConfig.from_dict({**config.to_dict(), "tiling": "grid", "context": ROW}).resolved()
    tokenizer = config.make_tokenizer()
    turns = [[QUESTION, "{caption}"]]
    share = Share.from_dict({"source": {"type": "jsonl", "folder": str(folder), "turns": turns}})
    reading = Reading((share,), 0, config.layout(tokenizer), rows=2 * max(1, workers), length=ROW, buffer=64, tiles=16)

    def steps() -> Iterator[tuple[int, int]]:
        loader = Loader(reading, reading.rows, workers=workers)
        try:
            while True:
                for batch in loader.next_step():
                    yield sum(map(len, batch.samples)), len(batch.tiles)
        finally:
            loader.close()

    return steps, tokenizer


class Pairs(torch.utils.data.Dataset):
    """The peer's dataset: a file opened, a prompt, and what the processor makes of both."""

    def __init__(self, files: list[Path], processor: Any) -> None:
        self.files, self.processor = files, processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        picture = PILImage.open(self.files[index]).convert("RGB")
        made = self.processor(images=picture, text=f"<image> {QUESTION} {ANSWER}", return_tensors="pt")
        return made["pixel_values"][0], made["input_ids"][0]


def padded(batch: list[Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Tiles of a batch, and its tokens with padding, as the processor's users collate them."""
    ids = torch.nn.utils.rnn.pad_sequence([ids for _, ids in batch], batch_first=True)
    return torch.cat([tiles for tiles, _ in batch]), ids, len(batch)


def peer(files: list[Path], workers: int, tokenizer: Any) -> Callable[[], Iterator[tuple[int, int]]]:
    """Batches of the peer as (samples, tiles)."""
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.rust, pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["<image>"]})
    shapes = [[r * TILE, c * TILE] for r in (1, 2) for c in (1, 2)]
    images = transformers.LlavaNextImageProcessorPil(
        size={"height": TILE, "width": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=shapes,
    )
    processor = transformers.LlavaNextProcessor(images, fast, patch_size=16, vision_feature_select_strategy="full")

    def steps() -> Iterator[tuple[int, int]]:
        loader = torch.utils.data.DataLoader(
            Pairs(files, processor), batch_size=8, num_workers=workers, collate_fn=padded, persistent_workers=True
        )
        for _ in cycle([None]):
            for tiles, _, samples in loader:
                yield samples, len(tiles)

    return steps


def rate(steps: Iterator[tuple[int, int]], seconds: float) -> tuple[float, float]:
    """Samples a second, and tiles a sample, over at least so many seconds."""
    samples = tiles = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for count, cut in islice(steps, 1):
            samples, tiles = samples + count, tiles + cut
    return samples / (time.perf_counter() - began), tiles / samples


def main() -> None:
    """Measure in turns, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="pictures to use; by default drawn ones")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, of --seconds")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(options.pictures, options.files, Path(folder))
        own, tokenizer = ours(files, options.workers)
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
        for _ in range(options.rounds):
            for name, made in (("ours", own), ("peer", peer(files, options.workers, tokenizer))):
                steps = made()
                for _ in islice(steps, 4 * options.workers):
                    pass  # workers have begun, and what was read ahead is gone
                found[name].append(rate(steps, options.seconds))
                steps.close()  # type: ignore[attr-defined]
    rates = {name: [speed for speed, _ in rounds] for name, rounds in found.items()}
    result = {
        "ratio": statistics.median(a / b for a, b in zip(rates["ours"], rates["peer"], strict=True)),
        "samples_per_second": {name: statistics.median(speeds) for name, speeds in rates.items()},
        "tiles_per_sample": {name: rounds[-1][1] for name, rounds in found.items()},
        "rounds": rates,
        "workers": options.workers,
        "peer": f"transformers {transformers.__version__}, torch {torch.__version__}",
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
