"""Functions that users name: recipes and studies, this project's and those of third parties."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from sensorium.config import nearest
from sensorium.errors import ConfigError

T = TypeVar("T")


class Named(Generic[T]):
    """Functions that make a `kind` of thing, by exact name.

    They register by being imported: all of the package `room` when first asked for, and the entry points of the group
    of the same name. `hint` ends the error of an unknown name.
    """

    def __init__(self, kind: str, room: str, hint: str = "") -> None:
        self.kind, self.room, self.hint = kind, room, hint
        self.functions: dict[str, Callable[[], T]] = {}
        self.discovered = False

    def register(self, function: Callable[[], T]) -> Callable[[], T]:
        """Keep a function under its name with dashes, and points between digits (`llava_1_5` is llava-1.5); a
        `ConfigError` if another module has one of that name."""
        name = re.sub(r"(?<=\d)_(?=\d)", ".", function.__name__).replace("_", "-")
        other = self.functions.get(name, function)
        if other.__module__ != function.__module__:
            raise ConfigError(f"{self.kind} '{name}' is defined in {other.__module__} and {function.__module__}")
        self.functions[name] = function
        return function

    def names(self) -> list[str]:
        if not self.discovered:
            package = importlib.import_module(self.room)
            for module in pkgutil.iter_modules(package.__path__, self.room + "."):
                importlib.import_module(module.name)
            for entry in entry_points(group=self.room):
                entry.load()
            self.discovered = True
        return sorted(self.functions)

    def __getitem__(self, name: str) -> Callable[[], T]:
        """A `ConfigError` with the nearest names if there is none."""
        known = self.names()
        if name not in known:
            raise ConfigError(f"unknown {self.kind} '{name}': {nearest(name, known)} {self.hint}".rstrip())
        return self.functions[name]
