"""Write the reference of recipes and parts from the types themselves; `--check` only says whether it is up to date.

python docs/generate.py [--check]
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

import sensorium.curation.step
import sensorium.documents.filter  # noqa: F401 - declares a family that no recipe names
from sensorium.backbones.backbone import Apart
from sensorium.config import Config, PartConfig, find_part, part_families, part_names
from sensorium.data.sources.aligned import Modality
from sensorium.model import ModelConfig
from sensorium.recipe import Recipe, Share, Stage, find_recipe, recipe_names
from sensorium.template import ChatTemplate, Turn

HERE = Path(__file__).parent
NOTE = (
    "<!-- Written by docs/generate.py (`make docs`). Change the docstrings and fields in the code, not this page. -->"
)
BASES = (Recipe, Stage, Share, ModelConfig, ChatTemplate, Turn, Modality, Apart)
BOUNDS = ((Ge, "ge", "≥ {}"), (Gt, "gt", "> {}"), (Le, "le", "≤ {}"), (Lt, "lt", "< {}"))
LENGTHS = ((MinLen, "min_length", "at least {}"), (MaxLen, "max_length", "at most {}"))


def recipes_page() -> str:
    """The list of recipes, and every key of one."""
    lines = [
        NOTE,
        "# Recipes",
        "",
        "A recipe is a model, the stages of its training, and how it is examined. It is a typed Python function",
        "(`sensorium/recipes/`); `sensorium show NAME` prints it in full as YAML, which `sensorium train` reads back;",
        "`stages.0.lr=1e-4` on the command line changes one key. Every key is listed below; whatever else is written",
        "is an error that names the nearest key. `sensorium show --schema` prints the same as JSON schema for editors.",
        "",
        "| recipe | stages | examined by | summary |",
        "|---|---|---|---|",
    ]
    for name in recipe_names():
        recipe = find_recipe(name)
        stages, suites = [s.name for s in recipe.stages], [s.type_name for s in recipe.evaluation]
        lines.append(row(f"`{name}`", ", ".join(stages), ", ".join(suites), recipe.summary))
    for base in BASES:
        lines += ["", f"## {base.__name__}", "", paragraph(base), "", *fields(base)]
    return "\n".join(lines) + "\n"


def parts_page() -> str:
    """Every family with every part of this project, and every key of it."""
    lines = [
        NOTE,
        "# Parts",
        "",
        "What a recipe can name, by family. A part is written as its name, if its defaults will do, or as a mapping",
        "with `type` and its keys. Parts of your own come from a file (`--parts FILE`) or a package's entry points.",
    ]
    for family in part_families():
        names = [name for name in part_names(family) if ours(find_part(family, name))]
        base = family_of(family)
        lines += ["", f"## {family}", "", paragraph(base)]
        for name in names:
            config = find_part(family, name)
            source = config.part.__module__.replace(".", "/") + ".py"
            lines += ["", f"### {family} {name}", "", paragraph(config.part), "", f"[{source}](../{source})"]
            lines += ["", *(fields(config) or ["No keys."])]
    return "\n".join(lines) + "\n"


def ours(config: type[PartConfig]) -> bool:
    """Whether a part is this project's and not of a third party that happens to be installed."""
    return config.part.__module__.startswith("sensorium.")


def family_of(family: str) -> type[Any]:
    """The class that declares a family."""
    part = find_part(family, part_names(family)[0]).part
    return next(c for c in reversed(part.__mro__) if "Config" in vars(c) and vars(c)["Config"].family == family)


def paragraph(thing: type[Any]) -> str:
    """The docstring's first paragraphs up to any example, as one line each."""
    text = inspect.cleandoc(thing.__doc__ or "")
    return "\n\n".join(" ".join(block.split()) for block in text.split("\n\n") if not block.startswith("    "))


def fields(config: type[Config]) -> list[str]:
    """A table of a config's keys."""
    rows = [
        row(f"`{name}`", type_text(field.annotation), default_text(field), bounds(field), field.description or "")
        for name, field in config.model_fields.items()
    ]
    return ["| key | type | default | bounds | meaning |", "|---|---|---|---|---|", *rows] if rows else []


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def type_text(kind: Any) -> str:
    """A type as a person would say it, with links to what it refers to."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_text(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(type_text(one) for one in inner)
    if origin in (tuple, list):
        many = origin is list or inner[-1] is Ellipsis
        return f"list of {type_text(inner[0])}" if many else f"[{', '.join(map(type_text, inner))}]"
    if origin is dict:
        return f"mapping of {type_text(inner[0])} to {type_text(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, PartConfig):
        return f"[{kind.family}](parts.md#{kind.family})"
    if isinstance(kind, type) and issubclass(kind, Config):
        return f"[{kind.__name__}](recipes.md#{kind.__name__.lower()})"
    return {NoneType: "nothing", str: "text", Path: "path", Any: "anything"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def default_text(field: FieldInfo) -> str:
    """A default in YAML, as it would be written in a recipe."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, PartConfig):
        return f"`{value.type_name}`"
    if isinstance(value, Config):
        return f"see [{type(value).__name__}](recipes.md#{type(value).__name__.lower()})"
    return f"`{yaml_text(value)}`"


def yaml_text(value: Any) -> str:
    """A plain value on one line of YAML."""
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def bounds(field: FieldInfo) -> str:
    """What a value may be, where it is bounded."""
    return ", ".join(_bounds(field.metadata))


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for item in metadata:
        for kind, attribute, text in (*BOUNDS, *LENGTHS):
            if isinstance(item, kind):
                yield text.format(getattr(item, attribute))


PAGES = {"recipes.md": recipes_page, "parts.md": parts_page}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` say which are not up to date; returns the exit code."""
    pages = {HERE / name: make() for name, make in PAGES.items()}
    stale = [file for file, text in pages.items() if not file.is_file() or file.read_text() != text]
    if "--check" in arguments:
        for file in stale:
            print(f"{file}: not up to date; run `make docs`", file=sys.stderr)
        return bool(stale)
    for file in stale:
        file.write_text(pages[file])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
