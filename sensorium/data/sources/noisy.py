"""Known noise: another source with some samples spoilt, and a note of which and how, to test curation against."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image as PILImage
from pydantic import Field, model_validator

from sensorium.data.derived import Derived
from sensorium.data.images import open_picture, picture_size
from sensorium.data.worlds.dice import Dice
from sensorium.errors import DataError
from sensorium.sample import Image, PictureSource, Sample, Segment, Text

Noise = Literal["", "wrong-caption", "near-duplicate", "off-topic", "low-information"]
TRIES = 200
OFF_TOPIC = (
    "Free shipping on all orders over 50 dollars, this weekend only.",
    "Click here to subscribe to our newsletter and never miss a post.",
    "The central bank left its interest rate unchanged on Thursday.",
    "Preheat the oven, then whisk the eggs with two spoons of sugar.",
    "By using this website you agree to our terms and conditions.",
    "The home side scored twice in the last ten minutes to win the cup.",
)
LOW_INFORMATION = ("image", "photo", "untitled", "IMG_0042.jpg", "a picture", "click to enlarge", "...")


class Noisy(Derived, name="noisy"):
    """As many samples as `source` has. Which are spoilt, and how, depends on the seed and the index alone.

    A wrong caption is the text of another sample. A near-duplicate is a clean sample again, its picture cropped a
    little, brighter or darker, and grainier. Off-topic and low-information texts take the place of what is supervised.
    `Sample.meta["noise"]` is the kind, or empty; `Sample.meta["of"]` the index of the other sample, if there is one.
    """

    class Config(Derived.Config):
        seed: int = 0
        wrong_caption: float = Field(default=0.1, ge=0, le=1, description="share with the text of another sample")
        near_duplicate: float = Field(default=0.1, ge=0, le=1, description="share that repeats another sample")
        off_topic: float = Field(default=0.05, ge=0, le=1, description="share with text that is not about pictures")
        low_information: float = Field(default=0.05, ge=0, le=1, description="share with text that says nothing")

        @property
        def shares(self) -> dict[Noise, float]:
            return {
                "wrong-caption": self.wrong_caption,
                "near-duplicate": self.near_duplicate,
                "off-topic": self.off_topic,
                "low-information": self.low_information,
            }

        @model_validator(mode="after")
        def _some_are_clean(self) -> Noisy.Config:
            if sum(self.shares.values()) > 0.9:
                raise ValueError("the shares of noise add up to more than 0.9; leave some samples as they are")
            return self

    config: Config

    def noise(self, index: int) -> Noise:
        """The kind of a sample's noise; empty for a clean one."""
        chance = Dice("noise", self.config.seed, index).unit()
        for kind, part in self.config.shares.items():
            if chance < part:
                return kind
            chance -= part
        return ""

    def __getitem__(self, index: int) -> Sample:
        sample, kind = self.source[index], self.noise(index)
        dice = Dice("spoil", self.config.seed, index)
        if kind in ("off-topic", "low-information"):
            says = dice.pick(OFF_TOPIC if kind == "off-topic" else LOW_INFORMATION)
            spoilt = replace(sample, segments=tuple(_saying(segment, says) for segment in sample.segments))
        elif kind:
            place, other = self._other(index, sample, dice)
            if kind == "wrong-caption":
                pictures = iter(sample.images)
                segments = tuple(next(pictures) if isinstance(s, Image) else s for s in other.segments)
                spoilt = replace(sample, segments=segments, meta={**sample.meta, "of": place})
            else:
                segments = tuple(_altered(s, dice) if isinstance(s, Image) else s for s in other.segments)
                spoilt = replace(sample, segments=segments, meta={**other.meta, "of": place})
        else:
            spoilt = sample
        return replace(spoilt, meta={**spoilt.meta, "noise": kind})

    def _other(self, index: int, sample: Sample, dice: Dice) -> tuple[int, Sample]:
        """A clean sample that says something else about as many pictures."""
        for _ in range(TRIES):
            place = dice.below(len(self))
            if place == index or self.noise(place):
                continue
            other = self.source[place]
            if len(other.images) == len(sample.images) and _words(other) != _words(sample):
                return place, other
        raise DataError(f"{sample.name}: {TRIES} other samples say the same or have other pictures; use more samples")


@dataclass(frozen=True)
class Altered:
    """A picture cropped by `crop` (left, top, right, bottom, in parts of its sides), stretched to its size again, its
    levels multiplied by `light`, and up to `grain` of 255 levels added to each by chance. A `Picture`."""

    source: PictureSource
    crop: tuple[float, float, float, float]
    light: float
    grain: int
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        return picture_size(self.source)

    def open(self) -> PILImage.Image:
        picture = open_picture(self.source)
        width, height = picture.size
        left, top, right, bottom = self.crop
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        levels = np.asarray(picture.resize(picture.size, PILImage.Resampling.BICUBIC, box=box), np.float32)
        chance = np.frombuffer(random.Random(self.seed).randbytes(levels.size), np.uint8).reshape(levels.shape)
        levels = levels * self.light + (chance / 127.5 - 1) * self.grain
        return PILImage.fromarray(levels.clip(0, 255).astype(np.uint8))


def _altered(image: Image, dice: Dice) -> Image:
    crop = (dice.span(0, 0.04), dice.span(0, 0.04), dice.span(0, 0.04), dice.span(0, 0.04))
    return replace(
        image, source=Altered(image.source, crop, dice.span(0.85, 1.15), 10, dice.below(1 << 31)), regions=()
    )


def _saying(segment: Segment, text: str) -> Segment:
    return replace(segment, text=text) if isinstance(segment, Text) and segment.supervise else segment


def _words(sample: Sample) -> list[str]:
    return [s.text for s in sample.segments if isinstance(s, Text) and s.supervise]
