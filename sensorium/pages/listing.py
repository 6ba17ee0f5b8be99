"""What the command line lists: recipes, one recipe in full, the verdicts of checks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from sensorium.errors import ConfigError, SensoriumError
from sensorium.recipe import Recipe, find_recipe, recipe_names


def recipe_rows() -> list[dict[str, Any]]:
    """Each recipe's name, summary, stages and suites; one that cannot be made here says why instead."""
    rows = []
    for name in recipe_names():
        try:
            recipe = find_recipe(name)
        except SensoriumError as error:
            rows.append({"name": name, "summary": f"not available: {error}", "stages": [], "suites": []})
            continue
        stages = [stage.name for stage in recipe.stages]
        suites = [suite.type_name for suite in recipe.evaluation]
        rows.append({"name": name, "summary": recipe.summary, "stages": stages, "suites": suites})
    return rows


def recipe_table() -> Table:
    """The same for people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("recipe", "stages", "summary"):
        table.add_column(title, no_wrap=title == "recipe")
    for row in recipe_rows():
        table.add_row(Text(row["name"], "bold"), Text(", ".join(row["stages"])), Text(row["summary"]))
    return table


def print_recipes(as_json: bool) -> None:
    """The list, for programs or for people."""
    if as_json:
        print(json.dumps(recipe_rows(), indent=2, ensure_ascii=False))
    else:
        Console().print(recipe_table())


def print_recipe(name: str | None, overrides: Sequence[str], as_json: bool) -> None:
    """A recipe in full, as JSON or as YAML, in colour where a person looks."""
    if name is None:
        raise ConfigError(f"show needs a recipe: choose from {', '.join(recipe_names())}, or give a .yaml file")
    recipe = find_recipe(name, *overrides)
    if as_json:
        print(json.dumps(recipe.to_dict(), indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        Console().print(Syntax(recipe.to_yaml().rstrip(), "yaml", background_color="default", word_wrap=True))
    else:
        print(recipe.to_yaml(), end="")


def print_schema() -> None:
    """The JSON schema of recipes, all registered parts included."""
    print(json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False))


def print_checks(name: str, overrides: Sequence[str], only: Sequence[str], as_json: bool) -> bool:
    """Run checks on a recipe, printing each verdict as it comes or all as JSON; true if all hold."""
    from sensorium.checks import run_checks

    verdicts = []
    console = Console()
    beside = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1
    for verdict in run_checks(find_recipe(name, *overrides), only=only, beside=beside):
        verdicts.append(verdict)
        if not as_json:
            mark = ("✓ ", "bold green") if verdict.passed else ("✗ ", "bold red")
            time = (f"{verdict.seconds:6.2f} s  ", "dim")
            console.print(Text.assemble(mark, f"{verdict.name:<18}", time, verdict.detail), soft_wrap=True)
    if as_json:
        print(json.dumps([vars(verdict) for verdict in verdicts], indent=2, ensure_ascii=False))
    return all(verdict.passed for verdict in verdicts)
