"""What papers on architectures say of their own parts, on miniatures: the same model, stages and data in every arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sensorium.recipe import Recipe, find_recipe
from sensorium.recipes.mini import PLACES
from sensorium.studies.study import Claim, Study, study
from sensorium.training.trainer import train

FLAMINGO = "Flamingo, 2204.14198, table 3"
INFIMM = "InfiMM-HD, 2403.01487, ablation of resolutions"
PARTS = ("encoder", "connector", "backbone", "head")
"""What learns in the stages `see` and `read` of miniatures."""
XGEN = "xGen-MM, 2408.08872v4, ablation of connectors"


@dataclass(frozen=True)
class Continued:
    """An arm that goes on from what all arms of a seed share: the first `learned` stages of `base`, in which `parts`
    learn."""

    base: Recipe
    learned: int
    parts: tuple[str, ...]
    changes: tuple[str, ...]

    def __call__(self, seed: int, shared: Path) -> Recipe:
        begun = shared / f"begun-{seed}"
        stages = self.base.stages[: self.learned]
        train(self.base.model_copy(update={"stages": stages, "seed": seed}), begun, resume=True)
        return self.recipe.model_copy(update={"start": dict.fromkeys(self.parts, begun)})

    @property
    def recipe(self) -> Recipe:
        """The arm's own stages, and what it changes."""
        changed = self.base.override(*self.changes)
        return changed.model_copy(update={"stages": changed.stages[self.learned :]})


def changed(base: str, arms: Mapping[str, tuple[str, ...]]) -> dict[str, Recipe]:
    """A recipe with each arm's changes."""
    return {arm: find_recipe(base, *changes) for arm, changes in arms.items()}


def continued(base: Recipe, arms: Mapping[str, tuple[str, ...]]) -> dict[str, Continued]:
    """The same after the stages `see` and `read`, which know of no connection and are trained once for all arms: they
    see with the same eyes and speak the same language."""
    return {arm: Continued(base, 2, PARTS, changes) for arm, changes in arms.items()}


@study
def resampler() -> Study:
    """Four tokens a picture from sixteen features, by attention or by averages."""
    places = f"model.{PLACES}"  # a resampler has no others
    arms = {
        "perceiver": (places, "model.connector={type: perceiver, latents: 4, depth: 2, num_heads: 4, head_dim: 24}"),
        "pooled": (places, "model.connector={type: average-pool, side: 2}"),
    }
    claims = (
        Claim("a resampler beats an MLP, 70.7 against 66.6", FLAMINGO, "perceiver", "pooled"),
        Claim("a resampler beats an MLP with pooling, 63.1 against 61.7 on questions", XGEN, "perceiver", "pooled"),
    )
    summary = "A perceiver resampler against an MLP with pooling, at as many tokens"
    return Study("resampler", summary, changed("llava-1.5-mini", arms), claims, "accuracy")


@study
def gates() -> Study:
    """A language model of four layers that rests, and blocks that look between them."""
    base = find_recipe("flamingo-mini", "model.backbone.depth=4")
    arms = {
        "every-1": (),
        "every-2": ("model.fusion.every=2",),
        "every-4": ("model.fusion.every=4",),
        "no-gates": ("model.fusion.gates=none",),
    }
    claims = (
        Claim("gates that begin at zero help, 70.7 against 66.5", FLAMINGO, "every-1", "no-gates"),
        Claim("a block before every layer beats every second, 70.7 against 68.2", FLAMINGO, "every-1", "every-2"),
        Claim("a block before every layer beats every fourth, 70.7 against 68.8", FLAMINGO, "every-1", "every-4"),
    )
    summary = "Gated cross-attention: with gates and without, before every, every second, every fourth layer"
    return Study("gates", summary, continued(base, arms), claims, "accuracy")


@study
def resolution() -> Study:
    """Pictures of 64 x 192 pixels with a word or a number 12 pixels high, which an encoder for 64 x 64 sees shrunk to a
    third, where people cannot read them, or as the same thumbnail and three tiles."""
    stages = find_recipe("demo-reading").stages
    sources = [f"stages.{i}.data.{j}.source" for i, stage in enumerate(stages) for j in range(len(stage.data))]
    worlds = (*sources, "evaluation.0.world")
    tall = tuple(f"{world}.size=[64, 192]" for world in worlds)
    tilings = {"tiles": "{type: grid, max_rows: 3, max_columns: 1}", "shrunk": "{type: whole, fit: pad}"}
    arms = {arm: (*tall, f"model.tiling={tiling}") for arm, tiling in tilings.items()}
    claims = (Claim("tiles read small text better, 70.7 against 64.1 on TextVQA", INFIMM, "tiles", "shrunk"),)
    summary = "Any resolution against one, on small text"
    return Study("resolution", summary, changed("demo-reading", arms), claims, "accuracy/reading")


@study
def tile_places() -> Study:
    """The tokens of tiles with a code of their place in the picture, and without."""
    arms = {"code": (), "none": ("model.assembly=tiles",)}
    claims = (Claim("a code of a tile's place helps, 63.5 against 63.3 on GQA", INFIMM, "code", "none"),)
    summary = "A code for the place of tiles against none"
    return Study("tile-places", summary, continued(find_recipe("infimm-hd-mini"), arms), claims, "accuracy")


@study
def tokens() -> Study:
    """Pre-trained with few tokens a picture; tuned with all of them, or with as few."""
    arms = {"all": (), "few": ("stages.2.edits.0.changes=[connector.side=2]",)}
    claim = Claim(
        "tuning with all tokens of a picture (729) after pre-training with few (144) beats tuning with few",
        "Open-Qwen2VL, 2504.00595, section 2.1",
        "all",
        "few",
    )
    summary = "All tokens of a picture in tuning, or a quarter of them"
    return Study("tokens", summary, changed("open-qwen2vl-mini", arms), (claim,), "accuracy")
