"""Packed rows read again from their keys, for a look at what a step was made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sensorium.data.mixture import Key
from sensorium.errors import ConfigError
from sensorium.pages.html import page, section, write_page
from sensorium.pages.inspect import make_layout
from sensorium.pages.laid import legend, sample_card
from sensorium.pages.survey import labels
from sensorium.recipe import Recipe
from sensorium.stage import Stage
from sensorium.training.stage_run import reading


def parse_keys(words: Sequence[str]) -> list[Key]:
    """Keys as `Batch.keys`, errors and `str(key)` write them: `source:index`, with commas or spaces between."""
    keys = []
    for word in re.split(r"[,\s]+", " ".join(words).strip()):
        match = re.fullmatch(r"(\d+):(\d+)", word)
        if not match:
            raise ConfigError(f"'{word}' is no key; expected SOURCE:INDEX, two numbers as in 0:1234")
        keys.append(Key(int(match[1]), int(match[2])))
    return keys


def stage_number(recipe: Recipe, stage: str) -> int:
    """A stage's place, given by its name or its number."""
    names = [one.name for one in recipe.stages]
    if stage.isdigit() and int(stage) < len(names):
        return int(stage)
    if stage not in names:
        raise ConfigError(f"no stage '{stage}' in {recipe.name}; choose from {', '.join(names)}")
    return names.index(stage)


def write_rows(recipe: Recipe, stage: str, words: Sequence[str], file: str | Path) -> Path:
    """A page with the samples of the keys, token by token, as the stage lays them out. A sample that cannot be used
    is the `DataError` that training met."""
    number, keys = stage_number(recipe, stage), parse_keys(words)
    layout, config = make_layout(recipe), recipe.stages[number]
    for key in keys:
        _known(key, config)
    packer = reading(recipe, number, layout).packer(lambda refusal: None)
    named = labels(config.data)
    cards = [sample_card(packer.lay(key), layout, f"{named[key.source]}, key {key}") for key in keys]
    title = f"{recipe.name}, stage {config.name}: {len(keys)} samples"
    return write_page(file, page(title, section(title, legend(), *cards)))


def _known(key: Key, stage: Stage) -> None:
    if key.source >= len(stage.data):
        raise ConfigError(f"key {key}: stage '{stage.name}' has the sources 0 to {len(stage.data) - 1}")
    length = len(stage.data[key.source].source.build())
    if key.index >= length:
        raise ConfigError(f"key {key}: source {key.source} has the samples 0 to {length - 1}")
