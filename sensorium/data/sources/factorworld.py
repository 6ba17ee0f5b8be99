"""FactorWorld: generated pictures with exact ground truth, and text about them that cannot be guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field, model_validator

from sensorium.data.regions import with_regions
from sensorium.data.source import Source
from sensorium.data.worlds import scene as world
from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.documents import document
from sensorium.data.worlds.language import dense_caption, short_caption
from sensorium.data.worlds.lettering import extent
from sensorium.data.worlds.questions import converse
from sensorium.data.worlds.render import SceneView, boxes
from sensorium.data.worlds.sampling import sample_scene
from sensorium.data.worlds.scene import Backdrop, Colour, Font, Scene, Shape, Space, Texture
from sensorium.data.worlds.talk import Question
from sensorium.data.worlds.tongues import GRAMMARS
from sensorium.data.worlds.vocabulary import Tongue
from sensorium.sample import Region, Sample, Text, caption, chat

Style = Literal["short", "dense", "caption", "chat", "document"]


class FactorWorld(Source, name="factorworld"):
    """Pictures of a few objects that differ in shape, colour, size, texture and place.

    Sample `i` of a seed and a split is the same in every process and on every machine. The scene does not depend on
    the style, the language or the questions, so captions and chats of the same index are about the same picture.
    `Sample.meta` holds {"scene": Scene, "questions": [{"type", "question", "answer", "choices"}, ...]}, also for
    captions and chats {"asks": how many questions of each type, "style": such as "chat-en"}, for documents {"scenes":
    tuple of Scene, "changes": tuple of Change}.
    """

    class Config(Source.Config):
        """Which scenes, shown how, with what text."""

        seed: int = Field(default=0, description="another seed is another, unrelated list of scenes")
        split: world.Split = Field(default="train", description="which part of the world: see docs/factorworld.md")
        scenes: int = Field(default=1_000_000, ge=1, description="how many samples there are")
        size: tuple[int, int] = Field(default=(64, 64), description="width and height of the pictures in pixels")
        objects: tuple[int, int] = Field(default=(1, 4), description="least and greatest number of objects in a scene")
        shapes: tuple[Shape, ...] = Field(default=world.SHAPES, min_length=2, description="shapes to draw from")
        colours: tuple[Colour, ...] = Field(default=world.COLOURS, min_length=2, description="colours to draw from")
        textures: tuple[Texture, ...] = Field(default=world.TEXTURES, min_length=1, description="textures to draw from")
        backgrounds: tuple[Backdrop, ...] = Field(default=world.BACKDROPS, min_length=1, description="what lies behind")
        fonts: tuple[Font, ...] = Field(default=("aileron",), min_length=1, description="dejavu-* need matplotlib")
        writing: float = Field(default=0.0, ge=0, le=1, description="how often a scene has a word or a number")
        noise: float = Field(default=0.02, ge=0, le=0.2, description="standard deviation of pixels, white being 1")
        style: Style = Field(
            default="chat",
            description="short or dense descriptions as answers, short captions alone, questions with answers, or "
            "documents",
        )
        questions: tuple[Question, ...] = Field(
            default=("existence", "count", "colour", "shape", "size", "relation"),
            min_length=1,
            description="types of questions in a chat",
        )
        turns: int = Field(default=6, ge=1, le=32, description="questions in a chat; fewer when no fair one is left")
        late: float = Field(
            default=0.0, ge=0, le=1, description="how often a chat starts late, so that any question may come first"
        )
        described: bool = Field(
            default=False,
            description="say in words, before the first question of a chat, what is in the picture: for a language "
            "model that reads before it sees, behind `text-only`",
        )
        regions: bool | Literal["objects", "writing"] = Field(
            default=False, description="say of what is in a picture, or of one kind of it, where it is and what it is"
        )
        language: Tongue = Field(default="en", description="language of all text outside the picture")

        @model_validator(mode="after")
        def _check(self) -> FactorWorld.Config:
            least, most = self.objects
            if not 1 <= least <= most <= 10:
                raise ValueError(f"objects: found {self.objects}; expected least <= greatest, both from 1 to 10")
            if min(self.size) < 16 or max(self.size) > 4096:
                raise ValueError(f"size: found {self.size}; expected a width and a height from 16 to 4096 pixels")
            for key in ("shapes", "colours", "textures", "backgrounds", "fonts", "questions"):
                values = getattr(self, key)
                if len(set(values)) < len(values):
                    raise ValueError(f"{key}: found {values}; expected every value once")
            if self.regions and self.style == "document":
                raise ValueError("regions: only known of captions and chats; set regions=false or another style")
            if self.split == "unseen-combinations" and len(self.space().held_out) < 2:
                raise ValueError(f"split: '{self.split}' needs two of these pairs in colours and shapes: {_held_out()}")
            return self

        def space(self) -> Space:
            """The scenes that this config can draw."""
            given = {key: getattr(self, key) for key in ("colours", "shapes", "textures", "backgrounds", "fonts")}
            return Space(**given, objects=self.objects, writing=self.writing, noise=self.noise, split=self.split)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.space = config.space()
        self.grammar = GRAMMARS[config.language]

    def __len__(self) -> int:
        return self.config.scenes

    def __getitem__(self, index: int) -> Sample:
        scene = self.scene(index)
        config, grammar = self.config, self.grammar
        dice = Dice("text", config.split, config.seed, index)
        name = f"{config.split}-{config.seed}-{index}"
        if config.style == "document":
            return document(scene, self.space, grammar, dice, config.size, id=name, source="factorworld")
        if config.style == "chat":
            turns = converse(scene, self.space, grammar, dice, config.questions, config.turns)
            if dice.chance(config.late):
                turns = turns[dice.below(len(turns)) :]
            pairs = [(turn.question, turn.answer) for turn in turns]
            if config.described and pairs:
                pairs[0] = (f"{dense_caption(scene, grammar, dice)[1]} {pairs[0][0]}", pairs[0][1])
        else:
            turns = []
            pairs = [(dense_caption if config.style == "dense" else short_caption)(scene, grammar, dice)]
        picture = SceneView(scene, config.size)
        if config.style == "caption":
            sample = caption(picture, pairs[0][1], id=name, source="factorworld")
        else:
            sample = chat([picture], pairs, id=name, source="factorworld")
        if config.regions:
            sample = self._with_regions(sample, scene)
        asks = dict.fromkeys(get_args(Question), 0) | Counter(turn.type for turn in turns)
        style = f"{config.style}-{config.language}"
        sample.meta.update(scene=scene, questions=[turn.to_dict() for turn in turns], asks=asks, style=style)
        return sample

    def _with_regions(self, sample: Sample, scene: Scene) -> Sample:
        """The sample with the objects and the writing of its one picture, as far as wanted, as regions."""
        (width, height), wanted = self.config.size, self.config.regions
        said = [self.grammar.phrase(False, (thing.size, thing.colour), thing.shape) for thing in scene.objects]
        found = list(zip(said, boxes(scene, (width, height)), strict=True)) if wanted != "writing" else []
        if scene.writing is not None and wanted != "objects":
            found.append((scene.writing.text, extent(scene.writing, (width, height))))
        regions = [
            Region((left / width, top / height, right / width, bottom / height), text)
            for text, (left, top, right, bottom) in found
        ]
        return with_regions(sample, regions)

    def scene(self, index: int) -> Scene:
        """Scene `index`, without picture or text; an `IndexError` outside the source."""
        if not 0 <= index < self.config.scenes:
            raise IndexError(f"factorworld has samples 0 to {self.config.scenes - 1}, found {index}")
        return sample_scene(self.space, Dice("scene", self.config.split, self.config.seed, index))


def corpus(config: FactorWorld.Config, scenes: int) -> Iterator[str]:
    """Plain text to train a tokenizer on: every piece of text of the first scenes, in every style in turn."""
    styles: tuple[Style, ...] = ("chat", "short", "dense", "document")
    sources = [FactorWorld(config.model_copy(update={"style": style})) for style in styles]
    for index in range(min(scenes, config.scenes)):
        for segment in sources[index % len(sources)][index].segments:
            if isinstance(segment, Text):
                yield segment.text


def _held_out() -> str:
    return ", ".join(" ".join(pair) for pair in sorted(world.HELD_OUT))
