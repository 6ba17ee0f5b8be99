"""What a check is, the list of all checks, and how they are run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import torch

from sensorium.checks.subject import Subject
from sensorium.config import nearest
from sensorium.errors import ConfigError, SensoriumError
from sensorium.recipe import Recipe

COMPOSE = "compose"
MODULES = ("tokens", "order", "model", "training")


class CheckFailed(Exception):  # noqa: N818 - it is no error of the program's
    """An invariant does not hold; the text says what was found and where."""


@dataclass(frozen=True)
class Verdict:
    """What became of one check: its exact name, whether the invariant holds, how long it took, what was found."""

    name: str
    passed: bool
    seconds: float
    detail: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.name:<18} {self.seconds:6.2f} s  {self.detail}"


_CHECKS: dict[str, Callable[[Subject], str]] = {}


def check(name: str) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Register a check. It returns what it found, or raises `CheckFailed`; the first line of its docstring is its
    title. It gets what it needs from the subject and never changes what the subject shares."""

    def register(function: Callable[[Subject], str]) -> Callable[[Subject], str]:
        _CHECKS[name] = function
        return function

    return register


def require(holds: bool, found: str) -> None:
    """Raise `CheckFailed` with what was found, unless the invariant holds."""
    if not holds:
        raise CheckFailed(found)


@cache
def _discover() -> None:
    for module in MODULES:
        import_module(f"sensorium.checks.{module}")


def check_names() -> list[str]:
    """The exact names of all checks, in the order in which they run."""
    _discover()
    return list(_CHECKS)


def check_title(name: str) -> str:
    """The invariant in one line."""
    if name == COMPOSE:
        return "The recipe composes and its data can be read."
    return (_CHECKS[name].__doc__ or name).splitlines()[0]


def run_checks(recipe: Recipe, only: Sequence[str] = (), samples: int = 32) -> Iterator[Verdict]:
    """Yield a verdict for each invariant as soon as it is known, on this recipe's own model and data.

    `only` names the checks to run; `samples` is how many samples of each stage are looked at. The first verdict is
    `compose`, and if the recipe cannot be composed it is the only one. What is trained is a shrunk twin: few steps,
    short rows, and few layers if the model is large.
    """
    for name in only:
        if name not in check_names():
            raise ConfigError(f"unknown check '{name}': {nearest(name, check_names())}")
    with tempfile.TemporaryDirectory(prefix="sensorium-check-") as folder:
        subject = Subject(recipe, Path(folder), samples)
        first = _run(COMPOSE, Subject.describe, subject)
        yield first
        if not first.passed:
            return
        for name in only or check_names():
            yield _run(name, _CHECKS[name], subject)


def _run(name: str, function: Callable[[Subject], str], subject: Subject) -> Verdict:
    started = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(subject.recipe.seed)
        try:
            passed, detail = True, function(subject)
        except (CheckFailed, SensoriumError) as error:
            passed, detail = False, str(error)
        except Exception as error:  # a part that breaks is a finding too, and the other checks still run
            passed, detail = False, f"{type(error).__name__}: {error}"
    return Verdict(name, passed, time.perf_counter() - started, detail)
