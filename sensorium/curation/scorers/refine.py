"""Two texts about a picture, merged by a language model that does not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sensorium.curation.pairs import asked, wording
from sensorium.curation.writer import Writer, filled
from sensorium.sample import Sample

INSTRUCTIONS = {
    "fuse": "Two texts are about the same picture.\nThe first was found beside it: {first}\nThe second was written by "
    "a machine: {second}\nThe first may know names and facts, but is untidy; the second is well built, but knows "
    "nothing. Write one text that keeps the facts of the first and the build of the second. Do not put one behind the "
    "other, and add nothing of your own.",
    "enrich": "A text that was found beside a picture: {first}\nA description of the picture: {second}\nWrite the "
    "description again with the names and facts that the text knows, where they belong. Keep all else that the "
    "description says, and leave out what is not about the picture.",
}


class Refine(Writer, name="refine"):
    """`text`: what a language model makes of a text found beside a picture (`first`) and a synthetic one (`second`). It
    can `fuse` them (CapsFusion, Yu et al., arXiv 2310.20550, section 3.2: the knowledge of the one, the structure of
    the other) or `enrich` a dense description (BLIP3-KALE's first stage, arXiv 2411.07461). The wording is ours.
    """

    class Config(Writer.Config):
        first: str = Field(default="", description="template of the text; by default what the sample says itself")
        second: str = Field(default="{recaption.text}", description="template of the synthetic text")
        task: Literal["fuse", "enrich"] = "fuse"
        instruction: str = Field(default="", description="asked instead, with {first} and {second}")

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.instruction = config.instruction or INSTRUCTIONS[config.task]

    def prompt(self, sample: Sample) -> Sample:
        first, second = wording(sample, self.config.first), wording(sample, self.config.second)
        return asked(sample, filled(self.instruction, {"first": first, "second": second}), pictures=False)
