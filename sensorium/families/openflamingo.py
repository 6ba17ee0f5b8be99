"""OpenFlamingo (2308.01390) as its authors' code saves it: what was trained, in one checkpoint.pt.

The vision tower and the language model were at rest and lie in folders of their own, which changes of the config name:
`encoder.path=clip-vit-large-patch14 backbone.path=RedPajama-INCITE-Instruct-3B-v1 --tokenizer` and that folder again.
"""

from __future__ import annotations

from typing import Any

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.gated import again, gated, gated_rules, stack
from sensorium.families.pixels import normalisation
from sensorium.families.resampler import resampler, resampler_rules
from sensorium.families.rules import DERIVED, Table
from sensorium.families.sizes import shape_of
from sensorium.model import ModelConfig
from sensorium.template import ChatTemplate, Turn

FILE = "checkpoint.pt"
CHUNK, IMAGE = "<|endofchunk|>", "<image>"
TOWER, LANGUAGE = "openai/clip-vit-large-patch14", "togethercomputer/RedPajama-INCITE-Instruct-3B-v1"
"""Of OpenFlamingo-4B-I, where no changes name folders."""
HEADS = 64
"""The width of the resampler's heads."""


class OpenFlamingo(Family):
    what = "OpenFlamingo's checkpoint.pt as its own code saves it, but for those on MPT"
    files = (FILE,)

    def recognises(self, folder: Folder) -> bool:
        return FILE in folder.names and not folder.settings

    def config(self, folder: Folder) -> dict[str, Any]:
        tensors, where = folder.tensors(*self.files), str(folder.path / FILE)
        start = _start(folder)
        shape_of(tensors, f"{start}perceiver.latents", where)
        layers, numbers = stack(tensors, f"{start}lang_encoder.", where)
        if layers.endswith("transformer.blocks."):
            raise ConfigError(
                f"{where}: its language model is an MPT, whose attention goes by places in the row (ALiBi) and not by "
                "positions, as the backbone 'hf' needs; OpenFlamingo-4B, on RedPajama, is read"
            )
        return {
            "encoder": {"type": "hf-vision", "path": TOWER, **normalisation({}, "clip")},
            "tiling": {"type": "whole", "fit": "crop"},
            "connector": resampler(tensors, f"{start}perceiver.", HEADS, where),
            "fusion": {**gated(tensors, layers, numbers, where), "only_pictured": False},
            "backbone": {"type": "hf", "path": LANGUAGE},
            "tokenizer": {"type": "hf", "path": str(folder.path), "specials": (CHUNK, IMAGE)},
            "template": ChatTemplate(
                document=Turn(end=CHUNK), user=Turn(), assistant=Turn(end=CHUNK), image=IMAGE, end_of_chunk=CHUNK
            ).to_dict(),
            "context": 2048,
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        assert folder is not None
        start = _start(folder)
        language = f"{start}lang_encoder."
        layers, numbers = stack(folder.tensors(*self.files), language, str(folder.path / FILE))
        rules = (*resampler_rules(f"{start}perceiver."), *gated_rules(language, layers, numbers))
        return Table(rules, (*DERIVED, *again(language)))


def _start(folder: Folder) -> str:
    """What training on several ranks writes before every key."""
    return "module." if all(key.startswith("module.") for key in folder.tensors(FILE)) else ""


@family
def openflamingo() -> Family:
    """OpenFlamingo's checkpoint.pt."""
    return OpenFlamingo()
