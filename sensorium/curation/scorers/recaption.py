"""Captions written anew: a model is shown the picture, and asked for as much as is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sensorium.curation.pairs import asked, wording
from sensorium.curation.writer import Writer, filled
from sensorium.sample import Sample

INSTRUCTIONS = {
    "short": "Say in one short sentence what the picture shows.",
    "descriptive": "Describe the picture in a few sentences: what is in it, how that looks and what is happening.",
    "dense": "Describe the picture in full: every object with its colour, shape, size, material and place, how they "
    "stand to each other, what is written, and the background. Say nothing that cannot be seen.",
    "fused": "Text that came with this picture: {text}\nDescribe the picture in full. Use the names and facts of that "
    "text where they fit what you see; leave out what the picture contradicts and what is not about it.",
}


class Recaption(Writer, name="recaption"):
    """`text`: a caption of the sample's pictures by a model that sees them and is asked for one `short` sentence, a few
    `descriptive` ones, or a `dense` one (Lai et al., arXiv 2410.02740, whose SSC, DSC and DSC+ they are), or `fused`
    with what came with the picture (their AFC; BLIP3-KALE's second stage, arXiv 2411.07461). The wording is ours; a
    model answers the questions it has been taught, so give a small one its own as `instruction`.
    """

    class Config(Writer.Config):
        style: Literal["short", "descriptive", "dense", "fused"] = "short"
        instruction: str = Field(default="", description="asked instead; {text} in it is what came with the picture")
        hint: str = Field(
            default="",
            description="template of what came with the picture, {alt} for a field of the record; by default what the "
            "sample says itself",
        )

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.instruction = config.instruction or INSTRUCTIONS[config.style]

    def prompt(self, sample: Sample) -> Sample:
        hint = wording(sample, self.config.hint) if "{text}" in self.instruction else ""
        return asked(sample, filled(self.instruction, {"text": hint}))
