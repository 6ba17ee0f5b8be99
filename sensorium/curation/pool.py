"""What is curated: one or more sources, named by a YAML file or by a stage of a recipe."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field

from sensorium.atomic import write_file
from sensorium.config import Config, load_yaml
from sensorium.curation.columns import ABOUT
from sensorium.data.source import Source
from sensorium.errors import ConfigError
from sensorium.recipe import find_recipe

FILE = "pool.yaml"


class Pool(Config):
    """The sources whose samples are scored and selected together, one behind the other."""

    sources: tuple[Source.Config, ...] = Field(min_length=1)

    @classmethod
    def find(cls, where: str, stage: int = 0) -> Pool:
        """A YAML file with the key `sources`, or the sources of a recipe's stage."""
        file = Path(where)
        if file.suffix in (".yaml", ".yml") and file.is_file() and _has_sources(file):
            return load_yaml(file, cls)
        stages = find_recipe(where).stages
        if not 0 <= stage < len(stages):
            raise ConfigError(f"recipe '{where}' has stages 0 to {len(stages) - 1}, found --stage {stage}")
        return cls(sources=tuple(share.source for share in stages[stage].data))

    @classmethod
    def at(cls, out: Path) -> Pool:
        """The pool whose scores are in a folder."""
        if not (out / FILE).is_file():
            raise ConfigError(f"{out}: holds no scores; make them with `sensorium data score`")
        return load_yaml(out / FILE, cls)

    def claim(self, out: Path) -> None:
        """Make `out` the folder of this pool's scores; a `ConfigError` if it is that of another."""
        if any(out.glob(f"*/{ABOUT}")) and Pool.at(out) != self:
            raise ConfigError(f"{out}: holds the scores of other sources; give another folder")
        write_file(out / FILE, self.to_yaml())


def _has_sources(file: Path) -> bool:
    try:
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return False  # which find_recipe explains
    return isinstance(found, dict) and "sources" in found
