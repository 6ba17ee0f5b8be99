"""FactorWorld to learn retrieval from: queries, documents, and documents that are wrong by one fact."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from pydantic import Field

from sensorium.data.candidates import retrieval
from sensorium.data.source import Source
from sensorium.data.sources.factorworld import FactorWorld
from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.documents import Change, change_scene, tell
from sensorium.data.worlds.language import dense_caption
from sensorium.data.worlds.questions import converse
from sensorium.data.worlds.render import SceneView
from sensorium.data.worlds.sampling import sample_scene
from sensorium.data.worlds.scene import Scene
from sensorium.data.worlds.tongues import GRAMMARS
from sensorium.data.worlds.vocabulary import Grammar, Tongue
from sensorium.errors import DataError
from sensorium.sample import Image, Sample, Segment, Text

Combination = Literal["I-T", "T-I", "IT-T", "IT-I"]
FALSIFYING = ("recolour", "resize", "move")
"""Changes that make what was said of a scene untrue, and what is said after them untrue of the scene before. To add or
to remove an object does only one of the two."""
TRIES = 200
Parts = tuple[str, list[Segment], Segment, Segment]
"""Instruction, query, positive and negative."""


class FactorWorldTriples(Source, name="factorworld-triples"):
    """Triples as mmE5's (Chen et al., arXiv 2502.08468), from ground truth instead of by a teacher: a picture finds its
    description (I-T) or a description its picture (T-I), a picture with a question the answer (IT-T), a picture with a
    change what it becomes (IT-I). The hard negative is the description or picture of the scene with one object
    recoloured, resized or moved, another answer to the question, and the unchanged picture.

    `Sample.meta` holds {"scene", "changed", "combination", "language"}.
    """

    class Config(Source.Config):
        world: FactorWorld.Config = Field(default_factory=FactorWorld.Config, description="scenes and questions")
        combinations: tuple[Combination, ...] = Field(
            default=get_args(Combination), min_length=1, description="what is searched with, and what for; drawn evenly"
        )
        languages: tuple[Tongue, ...] = Field(default=("en",), min_length=1, description="drawn evenly")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.world = FactorWorld(config.world)

    def __len__(self) -> int:
        return len(self.world)

    def __getitem__(self, index: int) -> Sample:
        world = self.config.world
        dice = Dice("triple", world.split, world.seed, index)
        combination, language = dice.pick(self.config.combinations), dice.pick(self.config.languages)
        name = f"{world.split}-{world.seed}-{index}"
        scene, changed, change = self._scenes(index, name)
        grammar = GRAMMARS[language]
        if combination == "IT-T":
            triple = self._asked(scene, grammar, dice, name)
        elif combination == "IT-I":
            triple = self._edited(scene, changed, change, grammar, dice)
        else:
            triple = self._described(scene, changed, grammar, dice, combination)
        instruction, query, positive, negative = triple
        sample = retrieval(instruction, query, [positive], [[negative]], id=name, source="factorworld-triples")
        sample.meta.update(scene=scene, changed=changed, combination=combination, language=language)
        return sample

    def _scenes(self, index: int, name: str) -> tuple[Scene, Scene, Change]:
        """A scene, the same with one object changed, and the change."""
        world, space = self.config.world, self.world.space
        for attempt in range(TRIES):
            dice = Dice("triple scene", world.split, world.seed, index, attempt)
            scene = sample_scene(space, dice)
            changed, change = change_scene(scene, space, dice)
            if change.kind in FALSIFYING:
                return scene, changed, change
        raise DataError(f"{name}: in {TRIES} scenes no object could be changed; use fewer objects, or more colours")

    def _picture(self, scene: Scene, role: Literal["user", "document"]) -> Image:
        return Image(SceneView(scene, self.config.world.size), role=role)

    def _described(self, scene: Scene, changed: Scene, grammar: Grammar, dice: Dice, combination: Combination) -> Parts:
        texts = [dense_caption(one, grammar, Dice("words"))[1] for one in (scene, changed)]
        if combination == "I-T":
            right, wrong = (Text(text, role="document") for text in texts)
            return "Find the text that describes the picture.", [self._picture(scene, "user")], right, wrong
        right, wrong = (self._picture(one, "document") for one in (scene, changed))
        return "Find the picture that the text describes.", [Text(texts[0])], right, wrong

    def _asked(self, scene: Scene, grammar: Grammar, dice: Dice, name: str) -> Parts:
        turns = converse(scene, self.world.space, grammar, dice, self.config.world.questions, 1)
        if not turns:
            raise DataError(f"{name}: no fair question can be asked about the scene; name more types of questions")
        (turn,) = turns
        other = dice.pick([choice for choice in turn.choices if choice != turn.answer])
        right, wrong = (Text(answer, role="document") for answer in (turn.answer, other))
        return "Find the answer.", [self._picture(scene, "user"), Text(turn.question)], right, wrong

    def _edited(self, scene: Scene, changed: Scene, change: Change, grammar: Grammar, dice: Dice) -> Parts:
        told = tell(change, grammar.texts["ordinals"][1], grammar, dice)
        first, second = self._picture(scene, "document"), self._picture(changed, "document")
        return "Find the second picture.", [replace(first, role="user"), Text(told)], second, first
