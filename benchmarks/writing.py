"""What captions written anew are worth: a captioner that has seen a clean fifth of the data rewrites the noisy rest.

Run `python benchmarks/writing.py`, with `--json` for a line that programs read. All models begin with the same encoder,
taught on the clean part, and are trained for as many steps; they differ in what the other pictures say. Everything
stays in `--out` for another look: `sensorium data report OUT/0/scores`, where 0 is the seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.config import Config, load_yaml
from sensorium.curation.choose import DATA, choose
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.scorers.recaption import INSTRUCTIONS
from sensorium.curation.selectors.threshold import Threshold
from sensorium.curation.selectors.top import Top
from sensorium.curation.step import Scorer
from sensorium.curation.writer import filled
from sensorium.data.batch import Batch
from sensorium.data.derived import Derived
from sensorium.data.source import Source
from sensorium.data.sources.noisy import Noisy
from sensorium.data.worlds.language import caption_hits
from sensorium.edits.edit import Edit
from sensorium.generation.engine import generate
from sensorium.model import PARTS, Model
from sensorium.recipe import Recipe, Share, Stage
from sensorium.recipes.demo import MODEL, align, world
from sensorium.sample import Sample, Text
from sensorium.training.checkpoint import find_model, load_model, load_part, verify
from sensorium.training.trainer import train

ASK = "Describe the picture."
NOISE: dict[str, Any] = {"wrong_caption": 0.4, "near_duplicate": 0.0, "off_topic": 0.05, "low_information": 0.05}


class StartFrom(Edit, name="start-from"):
    """All parts get the weights that they have in another run."""

    class Config(Edit.Config):
        run: Path

    config: Any

    def __call__(self, model: Model, batches: Iterator[Batch]) -> None:
        folder = find_model(self.config.run)
        verify(folder)
        for part in PARTS:
            load_part(model, part, folder)


class Fusing(Derived, name="fusing"):
    """What the fusing captioner learns from: clean samples, each asked for with several texts that might have come with
    it, as noisy as those of the rest."""

    class Config(Derived.Config):
        copies: int = 8

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.noisy = [Noisy.Config(source=config.source, seed=50 + n, **NOISE).build() for n in range(config.copies)]

    def __len__(self) -> int:
        return len(self.source) * len(self.noisy)

    def __getitem__(self, index: int) -> Sample:
        copy, place = divmod(index, len(self.source))
        asked = Text(filled(INSTRUCTIONS["fused"], {"text": says(self.noisy[copy][place])}))
        picture, _, answer = (sample := self.source[place]).segments
        return replace(sample, segments=(picture, asked, answer))


@dataclass(frozen=True)
class Sizes:
    """How many samples are clean and how many are not, steps of both stages, and pictures that are described."""

    clean: int
    rest: int
    align: int
    steps: int
    test: int


class Data(Config):
    """What `choose` writes for a stage."""

    data: tuple[Share, ...]


def says(sample: Sample) -> str:
    return " ".join(s.text for s in sample.segments if isinstance(s, Text) and s.supervise)


def fitted(out: Path, stages: tuple[Stage, ...], seed: int) -> Path:
    """A run of the small model, if it is not there."""
    if not (out / "model").is_dir():
        train(Recipe(name="writing", model=MODEL, stages=stages, seed=seed), out, quiet=True, resume=out.is_dir())
    return out


def learn(out: Path, base: Path, data: list[Share], sizes: Sizes, seed: int) -> Path:
    """A captioner that begins where `base` is."""
    stage = Stage(name="caption", data=tuple(data), edits=(StartFrom.Config(run=base),), steps=sizes.steps, lr=1e-3,
                  muon_lr=3e-3, warmup=20, length=512, rows=2, micro_rows=2, precision="float32",
                  trainable=("connector", "fusion", "backbone", "head"))  # fmt: skip
    return fitted(out, (stage,), seed)


def written(
    pool: Source.Config, scorer: dict[str, Any], scores: Path, column: str, best: float | None = None
) -> list[Share]:
    """The pool with a column in the place of what it says, as a stage would have it; or the `best` share of it, by how
    far answers agree."""
    Pool(sources=(pool,)).claim(scores)
    score([pool], Scorer.Config.model_validate(scorer), scores)
    keep = Threshold.Config(column=column) if best is None else Top.Config(column="consistency.agreement")
    chosen = scores.parent / f"chosen-{column}-{best}"
    choose(scores, keep, chosen, share=best, texts=[column])
    return list(load_yaml(chosen / DATA, Data).data)


def texts(shares: list[Share]) -> tuple[int, float]:
    """How many samples there are, and how right the objects are that they name: F1 by colour and shape."""
    samples = [source[index] for share in shares for source in [share.source.build()] for index in range(len(source))]
    return len(samples), f1(counts([says(sample) for sample in samples], samples))


def counts(texts: list[str], samples: list[Sample]) -> np.ndarray:
    """(rightly named, named, present), int64 `[n, 3]`."""
    return np.array([caption_hits(t, s.meta["scene"]) for t, s in zip(texts, samples, strict=True)])  # type: ignore[arg-type]


def f1(hits: np.ndarray) -> float:
    """Of counts `[..., 3]`, all together."""
    right, named, present = hits.reshape(-1, 3).sum(axis=0)
    return float(2 * right / (named + present))


def described(run: Path, test: Source, number: int) -> np.ndarray:
    """What a model names in pictures that it has not seen, int `[n, 3]`."""
    samples = [test[index] for index in range(number)]
    prompts = [Sample((*sample.images, Text(ASK)), id=sample.id) for sample in samples]
    return counts(generate(load_model(run).eval(), prompts, max_tokens=60), samples)


def one_seed(out: Path, sizes: Sizes, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All arms: samples, F1 of their texts, and hits of the model that was trained on them."""
    clean = world(style="short", seed=100 + seed, scenes=sizes.clean)
    rest = world(style="short", seed=200 + seed, scenes=sizes.rest)
    pool = Noisy.Config(source=rest, seed=seed, **NOISE)
    see = align(steps=sizes.align, seed=100 + seed, scenes=sizes.clean)
    see = see.model_copy(update={"lanes": 1, "micro_rows": 2, "precision": "float32"})
    base = fitted(out / "base", (see,), seed)
    fifth = Share(source=clean, weight=sizes.clean)
    captioner = learn(out / "clean", base, [fifth], sizes, seed)
    fuser = learn(out / "fuser", base, [Share(source=Fusing.Config(source=clean))], sizes, seed)
    scores = out / "scores"
    anew = {"type": "recaption", "checkpoint": str(captioner), "instruction": ASK, "max_tokens": 60}
    fused = {"type": "recaption", "label": "fused", "checkpoint": str(fuser), "style": "fused", "max_tokens": 60}
    agreed = {"type": "consistency", "checkpoint": str(captioner), "max_tokens": 60, "seed": seed}
    arms: dict[str, list[Share]] = {
        "clean": [],  # there is no rest
        "as found": [Share(source=pool, weight=sizes.rest)],
        "re-captioned": written(pool, anew, scores, "recaption.text"),
        "fused": written(pool, fused, scores, "fused.text"),
        "self-consistent": written(pool, agreed, scores, "consistency.answer"),
        "its better half": written(pool, agreed, scores, "consistency.answer", 0.5),
        "truth": [Share(source=rest, weight=sizes.rest)],
    }
    test = world(style="short", seed=77, split="unseen-scenes").build()
    found = {}
    for name, shares in arms.items():
        began = time.process_time()
        run = learn(out / name, base, [fifth, *shares], sizes, seed)
        samples, right = texts(shares or [fifth])
        hits = described(run, test, sizes.test)
        say(f"{seed:4} {name:18}{samples:8}{right:12.3f}{f1(hits):10.3f}{time.process_time() - began:8.0f} s")
        found[name] = {"samples": samples, "texts": right, "hits": hits.tolist()}
    return found


def against(name: str, other: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """An arm over all seeds, and by how much it is better than another; intervals by drawing pictures 2000 times, the
    same ones for both and for all seeds."""
    hits, base = (np.array([one[arm]["hits"] for one in found]) for arm in (name, other))  # [seeds, pictures, 3]
    dice = np.random.default_rng(0)
    drawn = [dice.integers(0, hits.shape[1], hits.shape[1]) for _ in range(2000)]
    alone = [f1(hits[:, places]) for places in drawn]
    more = [f1(hits[:, places]) - f1(base[:, places]) for places in drawn]
    return {
        "samples": [one[name]["samples"] for one in found],
        "texts": float(np.mean([one[name]["texts"] for one in found])),
        "f1": f1(hits),
        "n": hits.shape[1],
        "ci95": np.percentile(alone, [2.5, 97.5]).tolist(),
        "seeds": [f1(np.array(one[name]["hits"])) for one in found],
        "difference": f1(hits) - f1(base),
        "difference_ci95": np.percentile(more, [2.5, 97.5]).tolist(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clean", type=int, default=500)
    parser.add_argument("--rest", type=int, default=2000)
    parser.add_argument("--align", type=int, default=400)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--out", type=Path, help="a folder to keep everything in")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(options.clean, options.rest, options.align, options.steps, options.test)
    say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        say(f"{'seed':>4} {'the rest is':18}{'samples':>8}{'F1 of texts':>12}{'F1 seen':>10}{'time':>8}")
        found = [one_seed(out / str(seed), sizes, seed, say) for seed in range(options.seeds)]
    summary = {name: against(name, "clean", found) for name in found[0]}
    head = f"{'F1 of texts':>12}{'F1 seen':>9}{'95 %':>16}{'more than clean':>17}{'95 %':>18}  seeds"
    say(f"\n{'the rest is':18}{head}")
    for name, one in summary.items():
        low, high = one["ci95"]
        less, more = one["difference_ci95"]
        seeds = " ".join(f"{value:.3f}" for value in one["seeds"])
        say(f"{name:18}{one['texts']:12.3f}{one['f1']:9.3f}  [{low:.3f}, {high:.3f}]{one['difference']:17.3f}  "
            f"[{less:+.3f}, {more:+.3f}]  {seeds}")  # fmt: skip
    if options.json:
        print(json.dumps({"benchmark": "writing", "sizes": vars(sizes), "arms": summary}))


if __name__ == "__main__":
    main()
