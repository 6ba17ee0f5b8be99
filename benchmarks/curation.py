"""How well each method of curation finds noise that is known: precision and recall on a noisy FactorWorld.

Run `python benchmarks/curation.py`, with `--json` for a line that programs read; a few minutes on one core, most of it
for the small model whose likelihoods are used. Scores, and that model, stay in `--out` for another look:
`sensorium data report OUT/scores`. With `--study FOLDER` it says instead what noise the arms of a study of selections
(`sensorium reproduce selection`) were trained on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.config import find_part, load_yaml
from sensorium.curation.columns import read_table
from sensorium.curation.pool import Pool
from sensorium.curation.run import score
from sensorium.curation.table import Table
from sensorium.data.sources.noisy import Noisy
from sensorium.recipe import Recipe
from sensorium.recipes.demo import world
from sensorium.studies.captioner import captioner

KINDS = ("wrong-caption", "near-duplicate", "off-topic", "low-information")
TEXT = ("wrong-caption", "off-topic", "low-information")
"""Noise that a comparison of picture and text can find."""


@dataclass(frozen=True)
class Method:
    """A selector on a scorer's columns, and the kinds of noise it is meant to remove; `exact` ones decide themselves
    how many samples go, the others remove as many as there are of these kinds."""

    name: str
    scorer: dict[str, Any]
    selector: dict[str, Any]
    against: tuple[str, ...]
    exact: bool = True


def methods(clean: dict[str, Any], model: Path, twin: Path, steps: int) -> list[Method]:
    """What is measured."""
    hashes = {"type": "picture-hash"}
    dfn = {"type": "dfn", "clean": clean, "steps": steps}
    likelihood = {"type": "likelihood", "checkpoint": str(model)}
    beside = {**likelihood, "twin": str(twin), "label": "beside-twin"}
    twins = ("near-duplicate",)

    def alike(**settings: Any) -> dict[str, Any]:
        return {"type": "unique-pictures", **settings}

    def top(column: str) -> dict[str, Any]:
        return {"type": "top", "column": column}

    def semdedup(epsilon: float) -> dict[str, Any]:
        return {"type": "semdedup", "column": "picture-hash.thumbnail", "epsilon": epsilon, "clusters": 20}

    return [
        Method("text-quality, 4 words or more", {"type": "text-quality"},
               {"type": "threshold", "column": "text-quality.words", "least": 4}, ("low-information",)),
        Method("dHash, 4 bits", hashes, alike(distance=4, cosine=-1), twins),
        Method("dHash, 12 bits, and thumbnails", hashes, alike(), twins),
        Method("SemDeDup on thumbnails, 0.1", hashes, semdedup(0.1), twins),
        Method("DFN", dfn, top("dfn.similarity"), TEXT, exact=False),
        Method("likelihood", likelihood, top("likelihood.seeing"), TEXT, exact=False),
        Method("likelihood, gain by the picture", likelihood, top("likelihood.gain"), TEXT, exact=False),
        Method("the same, blind by a twin", beside, top("beside-twin.gain"), TEXT, exact=False),
    ]  # fmt: skip


def measure(method: Method, pool: Noisy, table: Table) -> dict[str, Any]:
    """Precision of what was removed, and recall, together and by kind. Of a near-duplicate and its original either may
    go, so both count as found when one went."""
    noise = np.array([pool.noise(i) for i in range(len(pool))])
    wanted = np.isin(noise, method.against)
    count = None if method.exact else int((~wanted).sum())
    kept = find_part("selector", method.selector["type"]).model_validate(method.selector).build().select(table, count)
    removed = np.ones(len(pool), dtype=bool)
    removed[kept] = False
    found, right = removed.copy(), wanted & removed
    for index in np.flatnonzero(noise == "near-duplicate"):
        original: Any = pool[int(index)].meta["of"]
        found[index] |= removed[original]
        right[original] |= removed[original] and "near-duplicate" in method.against
    recalls = {kind: float(found[noise == kind].mean()) for kind in method.against}
    return {
        "removed": int(removed.sum()),
        "precision": float(right.sum() / max(1, removed.sum())),
        "recall": float(found[wanted].mean()),
        "recall_by_kind": recalls,
    }


def composition(study: Path, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Of what each arm of a study was trained on, the shares of each kind of noise and of different scenes, averaged
    over the seeds."""
    say(f"{'arm':20}{'clean':>7}{'different':>11}  noise")
    arms: dict[str, list[dict[str, float]]] = {}
    for file in sorted(study.glob("*/seed-*/recipe.yaml")):
        for share in load_yaml(file, Recipe).stages[-1].data:
            kept: Any = share.source.build()
            kinds = [kept.source.noise(int(index)) for index in kept.indices]
            repeats = [kind == "near-duplicate" for kind in kinds]
            scenes = {kept[n].meta["of"] if repeat else int(kept.indices[n]) for n, repeat in enumerate(repeats)}
            shares = {kind or "clean": kinds.count(kind) / len(kinds) for kind in ("", *KINDS)}
            arms.setdefault(file.parts[-3], []).append(shares | {"different": len(scenes) / len(kinds)})
    found = {}
    for arm, seeds in arms.items():
        found[arm] = mean = {key: float(np.mean([one[key] for one in seeds])) for key in seeds[0]}
        kinds = ", ".join(f"{kind} {mean[kind]:.2f}" for kind in KINDS)
        say(f"{arm:20}{mean['clean']:7.2f}{mean['different']:11.2f}  {kinds}")
    return found


def run(out: Path, samples: int, steps: int, model_steps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all methods; seconds are of scoring, training included."""
    pool = Noisy.Config(source=world(style="short", seed=1, scenes=samples))
    clean = world(style="short", seed=2, scenes=20_000).to_dict()
    began = time.process_time()
    model = captioner(out / "captioner", world(style="short"), model_steps)
    twin = captioner(out / "twin", world(style="short"), model_steps, blind=True)
    say(f"a captioner of {2 * model_steps} steps, and its twin: {time.process_time() - began:.0f} s\n")
    say(f"{'method':36}{'removed':>9}{'precision':>11}{'recall':>8}{'seconds':>9}  recall by kind")
    results = {}
    Pool(sources=(pool,)).claim(out / "scores")
    for method in methods(clean, model, twin, steps):
        began = time.process_time()
        scorer: Any = find_part("scorer", method.scorer["type"]).model_validate(method.scorer)
        score([pool], scorer, out / "scores")
        seconds = time.process_time() - began
        found = measure(method, pool.build(), read_table(out / "scores", [pool]))
        results[method.name] = found | {"seconds": round(seconds, 1)}
        kinds = ", ".join(f"{kind} {share:.2f}" for kind, share in found["recall_by_kind"].items())
        line = f"{method.name:36}{found['removed']:9}{found['precision']:11.2f}{found['recall']:8.2f}{seconds:9.1f}"
        say(f"{line}  {kinds}")
    return {"samples": samples, "methods": results}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=100, help="steps of the filtering network")
    parser.add_argument("--model-steps", type=int, default=200, help="steps of each stage of the captioner")
    parser.add_argument("--out", type=Path, help="a folder to keep everything in")
    parser.add_argument("--study", type=Path, help="the folder of a study, to say what its arms were trained on")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
        out = options.out or Path(temporary)
        if options.study:
            found: dict[str, Any] = {"arms": composition(options.study, say)}
        else:
            found = run(out, options.samples, options.steps, options.model_steps, say)
    if options.json:
        print(json.dumps({"benchmark": "curation", **found}))


if __name__ == "__main__":
    main()
