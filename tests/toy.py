"""A toy world for tests: small pictures of one colour, chats and captions about them, and a recipe that learns them."""

from __future__ import annotations

import io
from functools import cache

import torch
from PIL import Image as PILImage

import sensorium as sm
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.model import Model, compose
from sensorium.recipe import Recipe
from sensorium.sample import Image, Region, Sample, Text

torch.set_num_threads(1)

COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
SIZES = ((16, 16), (32, 16), (16, 32), (32, 32), (48, 20), (9, 30))


@cache
def png(colour: str, size: tuple[int, int]) -> bytes:
    """A PNG file of one colour."""
    buffer = io.BytesIO()
    PILImage.new("RGB", size, COLOURS[colour]).save(buffer, "png")
    return buffer.getvalue()


class Toy(Source, name="toy"):
    """In turn: a chat, a caption, a chat of two turns, a page with two pictures, a chat without pictures."""

    class Config(Source.Config):
        samples: int = 60
        truncated: tuple[int, ...] = ()
        """indices whose picture is cut short after its header"""
        broken: tuple[int, ...] = ()
        """indices that cannot be read at all"""
        words: int = 0
        """how much more is asked"""

    def __len__(self) -> int:
        return self.config.samples

    def __getitem__(self, index: int) -> Sample:
        if index in self.config.broken:
            raise DataError(f"toy/{index}: broken")
        names = list(COLOURS)
        colour, other = names[index % 4], names[(index + 1) % 4]
        picture, second = png(colour, SIZES[index % 6]), png(other, SIZES[(index + 2) % 6])
        if index in self.config.truncated:
            picture = picture[: len(picture) // 2 + 12]
        known, question = (
            {"id": str(index), "source": "toy"},
            "what colour is it?" + " please" * (index % 3 + self.config.words),
        )
        match index % 5:
            case 0:
                return sm.chat([picture], [(question, colour)], **known)
            case 1:
                return sm.caption(picture, f"a {colour} picture, {index} of many", **known)
            case 2:
                return sm.chat([picture], [(question, colour), ("and now?", f"still {colour}")], **known)
            case 3:
                corner = Region((0.0, 0.0, 0.5, 0.5), f"a {colour} corner")
                turns = (
                    Text("first"),
                    Image(picture, regions=(corner,)),
                    Text("then"),
                    Image(second),
                    Text("which were they?"),
                )
                answer = Text(f"{colour} and {other}", role="assistant", supervise=True)
                return Sample((*turns, answer), **known)
        return sm.chat([], [(f"say {colour}", colour)], **known)


def toy_recipe(*assignments: str) -> Recipe:
    """Tiled pictures, a perceiver, two stages of which the second trains the backbone alone."""
    model = {
        "encoder": {"type": "vit", "image_size": 16, "patch_size": 4, "width": 16, "depth": 1, "num_heads": 2},
        "tiling": {"type": "grid", "max_rows": 2, "max_columns": 2},
        "connector": {"type": "perceiver", "latents": 4, "depth": 1, "num_heads": 2, "head_dim": 8},
        "backbone": {"type": "decoder", "width": 32, "depth": 2, "mlp_width": 64},
        "tokenizer": {"type": "bpe", "vocab_size": 300, "corpus": ["toy"]},
        "context": 96,
    }
    stage = {"data": [{"source": "toy"}], "steps": 6, "lr": 3e-3, "warmup": 2, "length": 128, "rows": 4, "buffer": 16}
    stage["precision"] = "float32"  # the same numbers on all hardware, and faster at this size
    stages = [
        {"name": "all", **stage},
        {"name": "words", **stage, "trainable": ["backbone"], "muon_lr": 3e-3, "micro_rows": 2},
    ]
    recipe = Recipe.from_dict({"name": "toy", "model": model, "stages": stages, "save_every": 4, "seed": 7})
    return recipe.override(*assignments)


def toy_model(*assignments: str) -> Model:
    """A new model of the toy recipe."""
    torch.manual_seed(0)
    return compose(toy_recipe(*assignments).model)
