"""What a check is, the list of all checks, and how they are run."""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from sensorium.checks.finding import CheckFailed
from sensorium.checks.full_size import full_size
from sensorium.checks.subject import Subject
from sensorium.config import nearest
from sensorium.errors import ConfigError, SensoriumError
from sensorium.recipe import Recipe, find_recipe
from sensorium.training.lanes import one_core

FULL_SIZE, COMPOSE = "full-size", "compose"
MODULES = ("tokens", "order", "model", "training")
LONG = ("resume", "frozen")
"""Checks that take about as long as all others."""


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
    if name == FULL_SIZE:
        return (full_size.__doc__ or name).splitlines()[0]
    return (_CHECKS[name].__doc__ or name).splitlines()[0]


def run_checks(recipe: Recipe, only: Sequence[str] = (), samples: int = 32, beside: bool = False) -> Iterator[Verdict]:
    """Yield a verdict for each invariant, on this recipe's own model and data, in the order of `check_names`.

    `only` names the checks to run; `samples` is how many samples of each stage are looked at. The first verdicts are
    `full-size`, which needs no files, and `compose`: if the recipe cannot be composed it is the last. A recipe that
    names a miniature is composed as that. What is trained is a shrunk twin: few steps, short rows, and if the model
    is large few and narrow layers. With `beside` the longest checks run in a process of their own beside the others,
    which is forked: ask for it only where this process has no threads yet.
    """
    for name in only:
        if name not in (FULL_SIZE, *check_names()):
            raise ConfigError(f"unknown check '{name}': {nearest(name, (FULL_SIZE, *check_names()))}")
    whole = not only or FULL_SIZE in only
    chosen = [name for name in only or check_names() if name != FULL_SIZE]
    if not chosen:
        yield _run(FULL_SIZE, full_size, recipe, recipe.seed)
        return
    small = find_recipe(recipe.miniature) if recipe.miniature else recipe
    with tempfile.TemporaryDirectory(prefix="sensorium-check-") as folder:
        subject = Subject(small, Path(folder), samples)
        composed = _run(COMPOSE, Subject.describe, subject, small.seed)
        alone = len(chosen) == 1 and not whole
        apart = [name for name in chosen if name in LONG] if beside and composed.passed and not alone else []
        with _apart(apart, subject) as verdicts:
            if whole:
                yield _run(FULL_SIZE, full_size, recipe, recipe.seed)
            yield composed
            for name in chosen if composed.passed else []:
                yield next(verdicts) if name in apart else _run(name, _CHECKS[name], subject, small.seed)


@contextmanager
def _apart(names: Sequence[str], subject: Subject) -> Iterator[Iterator[Verdict]]:
    """The verdicts of these checks, in their order, from another process, which has begun with them."""
    if not names:
        yield iter(())
        return
    context = multiprocessing.get_context("fork")
    there, here = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(names, subject, here), daemon=True)
    process.start()
    here.close()

    def told() -> Iterator[Verdict]:
        for name in names:
            try:
                yield there.recv()
            except EOFError:
                process.join()
                yield Verdict(name, False, 0.0, f"its process ended with {process.exitcode}; is there memory enough?")

    try:
        yield told()
    finally:
        process.terminate()
        process.join()


def _tell(names: Sequence[str], subject: Subject, pipe: Connection) -> None:
    subject.move(subject.folder / "beside")
    for name in names:
        pipe.send(_run(name, _CHECKS[name], subject, subject.recipe.seed))


@contextmanager
def _quick() -> Iterator[None]:
    """One thread, which small models want, and torch's depthwise convolutions in float64 all the more (two take 27
    times as long in 2.13); and few looks for cycles among the many objects of models that live and die here."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        with one_core():
            yield
    finally:
        gc.set_threshold(*before)


def _run(name: str, function: Callable[[Any], str], subject: Subject | Recipe, seed: int) -> Verdict:
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]), _quick():
        torch.default_generator.manual_seed(seed)
        try:
            passed, detail = True, function(subject)
        except (CheckFailed, SensoriumError) as error:
            passed, detail = False, str(error)
        except Exception as error:  # a part that breaks is a finding too, and the other checks still run
            passed, detail = False, f"{type(error).__name__}: {error}"
    return Verdict(name, passed, time.perf_counter() - started, detail)
