"""A recipe: a model, the stages of its training, and how it is examined.

It is a typed function; YAML files and `key=value` on the command line are views of it.

A variant is another recipe with a line or two changed:

    @recipe
    def demo_mlp() -> Recipe:
        "The demo with an MLP connector."
        return demo().variant("demo-mlp", "model.connector=mlp")
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, Self

from pydantic import Field, model_validator

from sensorium.config import Config, load_yaml, nearest
from sensorium.data.folder import ENVIRONMENT, rooted
from sensorium.data.source import Source
from sensorium.edits.edit import Edit
from sensorium.errors import ConfigError
from sensorium.evaluation.suite import Suite
from sensorium.model import PARTS, ModelConfig
from sensorium.objectives.objective import Objective


class Share(Config):
    """A source and its weight in the mixture (in samples, before packing)."""

    source: Source.Config
    weight: float = Field(default=1.0, gt=0)


class Stage(Config):
    """One stretch of training: data, objective, what is trainable, optimiser, length."""

    name: str
    data: tuple[Share, ...] = Field(min_length=1)
    objective: Objective.Config = Field(default_factory=lambda: Objective.Config.model_validate("next-token"))
    edits: tuple[Edit.Config, ...] = Field(
        default=(), description="rewrites of the model before the first step, in order"
    )
    trainable: tuple[Literal["encoder", "connector", "fusion", "backbone", "head"], ...] = PARTS
    cache_features: bool | Path = Field(
        default=False,
        description="keep the features of a frozen encoder, in the run's folder or in the one that is named",
    )
    steps: int = Field(ge=1)
    lr: float = Field(default=3e-4, gt=0, description="peak learning rate")
    lr_of: dict[str, float] = Field(
        default={}, description="peak learning rate of single parts, for example {encoder: 1e-4}"
    )
    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_lr: float = Field(default=0.0, ge=0, le=1, description="last learning rate as a share of the peak")
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW, on matrices only")
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = Field(default=1.0, gt=0)
    length: int = Field(default=512, ge=8, description="tokens in a packed row")
    rows: int = Field(default=8, ge=1, description="packed rows in a step; rows x length is the token budget")
    micro_rows: int | None = Field(default=None, ge=1, description="rows that are in memory at once; by default all")
    buffer: int = Field(default=64, ge=1, description="samples the packer looks ahead")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 where hardware has it"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rows % (self.micro_rows or self.rows):
            raise ValueError(f"rows {self.rows} is not a multiple of micro_rows {self.micro_rows}")
        if wrong := [name for name in self.lr_of if name not in PARTS]:
            raise ValueError(f"lr_of names '{wrong[0]}': {nearest(wrong[0], PARTS)}")
        if self.cache_features and "encoder" in self.trainable:
            raise ValueError("cache_features needs a frozen encoder: take encoder out of trainable")
        return self

    @property
    def tokens_per_step(self) -> int:
        return self.rows * self.length


class Recipe(Config):
    """A whole curriculum."""

    name: str
    summary: str = ""
    model: ModelConfig
    stages: tuple[Stage, ...] = Field(min_length=1)
    evaluation: tuple[Suite.Config, ...] = ()
    data: Path | None = Field(default=None, description=f"folder of the sources' folders; by default ${ENVIRONMENT}")
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


_RECIPES: dict[str, Callable[[], Recipe]] = {}


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a function that returns a recipe; its name, with dashes, is what users type."""
    name = function.__name__.replace("_", "-")
    if name in _RECIPES and _RECIPES[name].__module__ != function.__module__:
        raise ConfigError(f"recipe '{name}' is defined in {_RECIPES[name].__module__} and {function.__module__}")
    _RECIPES[name] = function
    return function


@cache
def _discover() -> None:
    package = importlib.import_module("sensorium.recipes")
    for module in pkgutil.iter_modules(package.__path__, "sensorium.recipes."):
        importlib.import_module(module.name)
    for entry in entry_points(group="sensorium.recipes"):
        entry.load()


def recipe_names() -> list[str]:
    _discover()
    return sorted(_RECIPES)


def find_recipe(name: str, *assignments: str) -> Recipe:
    """The recipe registered as `name`, or the one in the YAML file of that path, with overrides applied."""
    if name.endswith((".yaml", ".yml")):
        return load_yaml(name, Recipe).override(*assignments)
    if name not in recipe_names():
        raise ConfigError(f"unknown recipe '{name}': {nearest(name, recipe_names())} A .yaml file is read, too")
    return _RECIPES[name]().override(*assignments)


class _CallableModule(ModuleType):
    """Python binds a submodule's name in its package on import, so `sensorium.recipe` is this module; users call it."""

    def __call__(self, name: str, *assignments: str) -> Recipe:
        return find_recipe(name, *assignments)


sys.modules[__name__].__class__ = _CallableModule
