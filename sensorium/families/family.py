"""The contract of a published family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sensorium.config import nearest
from sensorium.errors import ConfigError
from sensorium.families.folder import Folder
from sensorium.families.rules import Table
from sensorium.model import Model, ModelConfig
from sensorium.named import Named


@dataclass(frozen=True)
class Stock:
    """What is written beside the weights, so that `transformers` loads them as its own class."""

    settings: dict[str, Any]
    """config.json; its `architectures` name the class"""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """further files: the processor's, the generation config"""
    tokens: tuple[str, ...] = ()
    """tokens that the class needs and our tokenizer may lack; the embedding gets rows for them"""
    around: tuple[str, str] = ("", "")
    """tokens that the tokenizer writes before and after every text"""


class Family(ABC):
    """Checkpoints that a project published: how they are recognised, what they are in our parts, and what their tensors
    are called there and here."""

    what: ClassVar[str]
    """one line for people: the layouts that are read"""
    model_types: ClassVar[tuple[str, ...]] = ()
    """`model_type` of config.json"""
    files: ClassVar[tuple[str, ...]] = ()
    """where the weights are; by default where `transformers` has them"""

    def recognises(self, folder: Folder) -> bool:
        """Whether the folder is of this family; by default its `model_type` says so."""
        return folder.settings.get("model_type") in self.model_types

    @abstractmethod
    def config(self, folder: Folder) -> dict[str, Any]:
        """A `ModelConfig` as plain data. A `ConfigError` says what our parts cannot express."""

    @abstractmethod
    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        """The tensors there and here: of a folder that is read, or as they are written (None)."""

    def new(self, config: ModelConfig, folder: Folder) -> dict[str, str]:
        """The beginnings of our names of tensors that the folder may lack, which begin untrained, and why."""
        return {}


class StockFamily(Family):
    """A family that is a stock class of `transformers`, as which compositions that equal it are written."""

    @abstractmethod
    def obstacles(self, config: ModelConfig) -> list[str]:
        """What of a composition has no place in the stock class; nothing if it equals it."""

    @abstractmethod
    def stock(self, model: Model) -> Stock:
        """What is written for a composition without obstacles."""


FAMILIES: Named[Family] = Named("family", "sensorium.families")


def family(function: Callable[[], Family]) -> Callable[[], Family]:
    """Register a function that returns a family; its name, with dashes, is what reports say."""
    return FAMILIES.register(function)


def families() -> dict[str, Family]:
    return {name: FAMILIES[name]() for name in FAMILIES.names()}


def recognised(folder: Folder) -> tuple[str, Family]:
    """The family that a folder is of; a `ConfigError` with the nearest model types if it is none."""
    known = families()
    for name, candidate in known.items():
        if candidate.recognises(folder):
            return name, candidate
    kind = folder.settings.get("model_type")
    if kind:
        types = sorted({kind for candidate in known.values() for kind in candidate.model_types})
        raise ConfigError(f"{folder.path / 'config.json'}: unknown model_type '{kind}': {nearest(str(kind), types)}")
    there = ", ".join(folder.names[:8]) or "nothing"
    raise ConfigError(f"{folder.path}: not a published checkpoint: config.json names no model_type; found {there}")
