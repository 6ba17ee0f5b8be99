"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = typer.Argument(metavar="RECIPE", help="A name from `sensorium recipes`, or a .yaml file.", show_default=False)
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes, such as stages.0.lr=3e-4.", show_default=False)
RecipeName = Annotated[str, NAME]
Overrides = Annotated[list[str] | None, CHANGES]
Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The folder of a run or of a model.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
