"""Running a study: every arm with every seed, each a run of its own that resumes, then a verdict on each claim."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sensorium.atomic import write_file
from sensorium.config import load_yaml, nearest
from sensorium.errors import CheckpointError, ConfigError
from sensorium.evaluation.results import read_metrics, write_evaluation
from sensorium.evaluation.suite import Metric
from sensorium.recipe import Recipe
from sensorium.studies.study import Claim, Study, Verdict, mean
from sensorium.training.checkpoint import MANIFEST
from sensorium.training.trainer import RECIPE, made_of, train

RESULT, EVALUATION, SHARED = "study.json", "eval.json", "shared"


@dataclass(frozen=True)
class Finding:
    """What became of a claim: by how much its winner leads, over the seeds, and the verdict."""

    claim: Claim
    lead: Metric
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """What a study found. `values` has the metric of each arm, one for each seed from 0 on; `tokens` is how many an arm
    is trained on, padding included; `changes` were made to all recipes."""

    study: Study
    values: dict[str, list[float]]
    tokens: dict[str, int]
    changes: tuple[str, ...] = ()

    @property
    def arms(self) -> dict[str, Metric]:
        """The mean of each arm over the seeds."""
        return {arm: mean(values) for arm, values in self.values.items()}

    @property
    def findings(self) -> list[Finding]:
        leads = [(claim, self.study.lead(claim, self.values)) for claim in self.study.claims]
        return [Finding(claim, lead, claim.judge(lead)) for claim, lead in leads]

    def to_dict(self) -> dict[str, Any]:
        """The contents of `study.json`."""
        arms = {
            arm: {"values": self.values[arm], "mean": over.value, "ci95": list(over.ci95), "tokens": self.tokens[arm]}
            for arm, over in self.arms.items()
        }
        claims = [asdict(f.claim) | {"lead": f.lead.to_dict(), "verdict": f.verdict} for f in self.findings]
        return {
            "study": self.study.name,
            "summary": self.study.summary,
            "metric": self.study.metric,
            "better": self.study.better,
            "changes": list(self.changes),
            "arms": arms,
            "claims": claims,
        }


def reproduce(
    study: Study,
    out: Path,
    seeds: int | None = None,
    changes: Sequence[str] = (),
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Train and examine every arm with the seeds 0, 1, ... in `out/ARM/seed-N`, and write `out/study.json`.

    What is done already is not done again, so more seeds can be added; two at least, for one has no interval. `changes`
    are overrides of every arm's recipe, `say` is told what comes next. A `ConfigError` if a claim's arms differ in
    budget, before that seed is trained; a `CheckpointError` if `out` holds runs of other recipes or data.
    """
    seeds = study.seeds if seeds is None else seeds
    if seeds < 2:
        raise ConfigError(f"{seeds} seed has no interval, and so no verdict; give at least 2")
    shared = (out / SHARED).resolve()
    values: dict[str, list[float]] = {arm: [] for arm in study.arms}
    tokens: dict[str, int] = {}
    for seed in range(seeds):
        say(f"seed {seed}: preparing")
        recipes = {arm: prepared(study, arm, seed, shared, changes) for arm in study.arms}
        tokens = {arm: sum(stage.steps * stage.tokens_per_step for stage in r.stages) for arm, r in recipes.items()}
        same_budget(study, tokens)
        for arm, recipe in recipes.items():
            say(f"seed {seed}: {arm}")
            metrics = examined(recipe, out / arm / f"seed-{seed}", quiet)
            if study.metric not in metrics:
                known = nearest(study.metric, metrics)
                raise ConfigError(f"study '{study.name}': the suites of {arm} report no '{study.metric}': {known}")
            if math.isnan(metrics[study.metric]):
                raise ConfigError(f"study '{study.name}': '{study.metric}' of {arm} is over nothing; examine more")
            values[arm].append(metrics[study.metric])
    outcome = Outcome(study, values, tokens, tuple(changes))
    write_file(out / RESULT, json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return outcome


def prepared(study: Study, arm: str, seed: int, shared: Path, changes: Sequence[str] = ()) -> Recipe:
    """An arm's recipe with overrides, and with a seed, whatever its own was."""
    given = study.arms[arm]
    recipe = given if isinstance(given, Recipe) else given(seed, shared)
    return recipe.override(*changes, f"seed={seed}")


def same_budget(study: Study, tokens: dict[str, int]) -> None:
    """A `ConfigError` if the arms of a claim are not trained on as many tokens."""
    for claim in study.claims:
        more, less = tokens[claim.winner], tokens[claim.loser]
        if more != less:
            raise ConfigError(
                f"study '{study.name}': {claim.winner} is trained on {more:,} tokens and {claim.loser} on {less:,}; "
                "give both the same steps x rows x length"
            )


def examined(recipe: Recipe, folder: Path, quiet: bool) -> dict[str, float]:
    """What a recipe's suites find of its run in `folder`, which is trained and examined if it has not been."""
    file = folder / EVALUATION
    model = None if file.is_file() else train(recipe, folder, resume=True, quiet=quiet)
    same_run(recipe, folder)
    if model is not None:
        reports = [suite.build().run(model, blind=recipe.blind) for suite in recipe.evaluation]
        write_evaluation(file, reports, (), folder)
    return read_metrics(file)


def same_run(recipe: Recipe, folder: Path) -> None:
    """A `CheckpointError` unless a finished run is that of `recipe`, on the data and from the weights as they are."""
    manifest = json.loads((folder / "model" / MANIFEST).read_text())
    made = json.loads(json.dumps(made_of(recipe)))
    if load_yaml(folder / RECIPE, Recipe) != recipe or any(manifest.get(key) != value for key, value in made.items()):
        raise CheckpointError(
            f"{folder}: holds a run of another recipe, or one whose data have changed since; choose another --out, or "
            "remove the folder to train it again"
        )
