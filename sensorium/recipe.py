"""A recipe: a model, the stages of its training, and how it is examined.

It is a typed function; YAML files and `key=value` on the command line are views of it.

A variant is another recipe with a line or two changed:

    @recipe
    def demo_mlp() -> Recipe:
        "The demo with an MLP connector."
        return demo().variant("demo-mlp", "model.connector=mlp")
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Self

from pydantic import Field, model_validator

from sensorium.config import Config, load_yaml, nearest
from sensorium.data.folder import ENVIRONMENT, Address, rooted
from sensorium.evaluation.suite import Suite
from sensorium.model import PARTS, ModelConfig
from sensorium.named import Named
from sensorium.stage import Share, Stage

__all__ = ["Recipe", "Share", "Stage", "find_recipe", "recipe", "recipe_names"]


class Recipe(Config):
    """A whole curriculum."""

    name: str
    summary: str = ""
    model: ModelConfig
    start: Path | dict[str, Path] | None = Field(
        default=None,
        description="a run or a model of the same config to begin with; or {PART: RUN}, for parts alone; by "
        "default a new model",
    )
    stages: tuple[Stage, ...] = Field(min_length=1)
    evaluation: tuple[Suite.Config, ...] = ()
    data: Address | None = Field(default=None, description=f"folder of the sources' folders; by default ${ENVIRONMENT}")
    miniature: str = Field(
        default="", description="a recipe of the same structure that a laptop can train; invariants are checked on it"
    )
    seed: int = 0
    blind: bool = Field(default=False, description="withhold all pictures: the text-only twin")
    save_every: int = Field(default=250, ge=1, description="steps between checkpoints")
    keep: int = Field(default=2, ge=1, description="checkpoints kept")
    max_bad_samples: int = Field(default=1000, ge=0, description="quarantined samples after which a run stops")

    @model_validator(mode="after")
    def _rows_hold_a_sample(self) -> Self:
        for number, stage in enumerate(self.stages):
            if stage.length < self.model.context:
                raise ValueError(
                    f"stages.{number}.length is {stage.length} and model.context {self.model.context}: a sample might "
                    "not fit a row; lower the context or raise the length"
                )
        return self

    @model_validator(mode="after")
    def _starts_are_of_parts(self) -> Self:
        for name in self.start if isinstance(self.start, dict) else ():
            if name not in PARTS:
                raise ValueError(f"start: a model has no part '{name}': {nearest(name, PARTS)}")
        return self

    @model_validator(mode="after")
    def _stages_are_there(self) -> Self:
        earlier: list[str] = []
        for number, stage in enumerate(self.stages):
            if stage.name in earlier:
                raise ValueError(f"stages.{number}.name: there are two stages '{stage.name}'; rename one")
            if missing := sorted(stage.needs() - set(earlier)):
                raise ValueError(
                    f"stages.{number} reads the model of stage '{missing[0]}': {nearest(missing[0], earlier)}"
                )
            earlier.append(stage.name)
        return self

    def is_needed(self, number: int) -> bool:
        """Whether a later stage reads the last model of this one."""
        return any(self.stages[number].name in later.needs() for later in self.stages[number + 1 :])

    @model_validator(mode="after")
    def _parts_suit_objectives(self) -> Self:
        head = self.model.head
        for number, stage in enumerate(self.stages):
            wants = stage.objective.part
            if wants.compares and not head.part.embeds:
                raise ValueError(
                    f"stages.{number}.objective '{stage.objective.type_name}' compares embeddings and model.head "
                    f"'{head.type_name}' makes none: set it to 'embedding' or 'token-and-embedding'"
                )
            for name in wants.needs_parts:
                if getattr(self.model, name).type_name == "none":
                    raise ValueError(
                        f"stages.{number}.objective '{stage.objective.type_name}' teaches model.{name}, which is "
                        f"'none': set it to 'diffusion'"
                    )
            if wants.reads_text and not self.model.connector.reads_text:
                raise ValueError(
                    f"stages.{number}.objective '{stage.objective.type_name}' wants a connector that reads text: set "
                    "model.connector to q-former with text=true"
                )
            if wants.reads_logits and not head.part.writes:
                raise ValueError(
                    f"stages.{number}.objective '{stage.objective.type_name}' reads logits and model.head "
                    f"'{head.type_name}' gives none: set it to 'token' or 'token-and-embedding'"
                )
        return self

    @model_validator(mode="after")
    def _tiles_have_places(self) -> Self:
        for number, stage in enumerate(self.stages):
            most = stage.tiling.max_tiles if stage.tiling else 0
            if stage.tiling and stage.tiling.rate != self.model.tiling.rate:
                raise ValueError(
                    f"stages.{number}.tiling '{stage.tiling.type_name}' does not read what model.tiling "
                    f"'{self.model.tiling.type_name}' reads, at the same rate: leave it out, or choose the same kind"
                )
            if most > self.model.tiling.max_tiles:
                raise ValueError(
                    f"stages.{number}.tiling cuts up to {most} tiles and model.tiling {self.model.tiling.max_tiles}: "
                    "the model has places for its own alone; raise what model.tiling may cut"
                )
        return self

    @model_validator(mode="after")
    def _data_is_found(self) -> Self:
        if self.data is not None:
            for key in ("stages", "evaluation"):
                value = tuple(rooted(config, self.data) for config in getattr(self, key))
                object.__setattr__(self, key, value)  # frozen to users, not to its own validation
        return self

    def mixture_seed(self, number: int) -> int:
        """What the order of samples in stage `number` depends on."""
        return self.seed * 1000 + number

    def variant(self, name: str, *assignments: str) -> Recipe:
        """This recipe under another name, with overrides."""
        return self.override(f"name={name}", *assignments)


RECIPES: Named[Recipe] = Named("recipe", "sensorium.recipes", "A .yaml file is read, too")


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a function that returns a recipe; its name, with dashes, is what users type."""
    return RECIPES.register(function)


def recipe_names() -> list[str]:
    return RECIPES.names()


def find_recipe(name: str, *assignments: str) -> Recipe:
    """The recipe registered as `name`, or the one in the YAML file of that path, with overrides applied."""
    if name.endswith((".yaml", ".yml")):
        return load_yaml(name, Recipe).override(*assignments)
    return RECIPES[name]().override(*assignments)


class _CallableModule(ModuleType):
    """Python binds a submodule's name in its package on import, so `sensorium.recipe` is this module; users call it."""

    def __call__(self, name: str, *assignments: str) -> Recipe:
        return find_recipe(name, *assignments)


sys.modules[__name__].__class__ = _CallableModule
