"""The manners of the command line: errors in one clean line, interruptions that say how to go on, examples in every
help text. Imports nothing heavy, for `--help` waits for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from sensorium.errors import SensoriumError

_GLOBAL = {"--quiet": 0, "-q": 0, "--debug": 0, "--parts": 1}
"""The global options and how many values each takes."""


@dataclass(frozen=True)
class Settings:
    """What the global options say."""

    quiet: bool = False


class Front(TyperGroup):
    """A group of commands that may have the global options anywhere.

    A `SensoriumError` becomes one message on stderr and exit code 2, with `--debug` a traceback; an interruption the
    command that goes on and exit code 130.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = list(args)
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SensoriumError as error:
            if ctx.params.get("debug"):
                raise
            complain(f"error: {error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            complain(f"interrupted{resuming(ctx.invoked_subcommand, ctx.meta['arguments'])}")
            raise typer.Exit(130) from None


def hoisted(args: Iterable[str]) -> list[str]:
    """Arguments with the global options moved to the front, where the parser wants them."""
    front: list[str] = []
    others: list[str] = []
    rest = list(args)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        values = 0 if word.startswith("--parts=") else _GLOBAL.get(word)
        if values is None:
            others.append(word)
        else:
            front += [word, *rest[:values]]
            del rest[:values]
    return front + others + rest


def resuming(command: str | None, args: list[str]) -> str:
    """How to go on after an interruption, where that is possible."""
    if command not in ("train", "demo", "reproduce"):
        return ""
    again = args + ["--resume"] * (command == "train" and "--resume" not in args)
    return f"; go on with: {shlex.join(['sensorium', *again])}"


def complain(message: str) -> None:
    """One red message on stderr."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(message, "red"), soft_wrap=True)


def examples(*lines: str) -> str:
    """Commands to copy, for the end of a help text."""
    return "\n\n".join(["[bold]Examples[/]", *(line.replace("[", r"\[") for line in lines)])
