"""A conversation in progress: a scene, and what has been given away about it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.scene import HELD_OUT, Scene, Space, Thing
from sensorium.data.worlds.vocabulary import Case, Grammar

Question = Literal["existence", "count", "colour", "shape", "size", "relation", "comparison", "reading"]
Phrase = tuple[tuple[str, ...], str]
"""Adjectives and a noun, as names that a grammar puts into words."""
YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer; `choices` are the answers that questions of this type have."""

    type: Question
    question: str
    answer: str
    choices: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The entry of `Sample.meta["questions"]`."""
        return {"type": self.type, "question": self.question, "answer": self.answer, "choices": self.choices}


class Talk:
    """What may still be asked. `colours` and `shapes` have been named, `sized` objects' sizes are known or can be
    concluded, and `placed` ones have been compared along an axis."""

    def __init__(self, scene: Scene, space: Space, grammar: Grammar, dice: Dice) -> None:
        self.scene, self.space, self.grammar, self.dice = scene, space, grammar, dice
        self.pairs = [thing.pair for thing in scene.objects]
        self.colours: set[str] = set()
        self.shapes: set[str] = set()
        self.sized: set[Thing] = set()
        self.placed: dict[str, set[Thing]] = {"x": set(), "y": set()}
        self.begun = self.read = False

    def candidates(self, by: str = "") -> list[Thing]:
        """The objects in random order, those first that are alone in the attribute `by`; where unusual pairs are the
        point, those before all others."""
        things = self.dice.shuffled(self.scene.objects)
        if by:
            things.sort(key=lambda thing: self.scene.count(by, getattr(thing, by)) > 1)
        if self.space.unusual:
            things.sort(key=lambda thing: thing.pair not in HELD_OUT)
        return things

    def unique(self, thing: Thing) -> bool:
        """Whether no other object has its colour and shape."""
        return self.pairs.count(thing.pair) == 1

    def descriptions(self, thing: Thing) -> list[Phrase]:
        """The ways to point at this object and no other without its size."""
        ways: list[Phrase] = []
        if self.unique(thing):
            ways.append(((thing.colour,), thing.shape))
        if self.scene.count("shape", thing.shape) == 1:
            ways.append(((), thing.shape))
        if self.scene.count("colour", thing.colour) == 1:
            ways.append(((thing.colour,), "object"))
        return ways

    def description_by(self, thing: Thing, attribute: str) -> Phrase | None:
        """The object pointed at by its colour or shape, with its size where that is needed; None if it is not enough.

        "The large star" tells the sizes of all stars, and that it could not be said tells something of them too.
        """
        value = getattr(thing, attribute)
        alike = [other for other in self.scene.objects if getattr(other, attribute) == value]
        words, noun = ((value,), "object") if attribute == "colour" else ((), value)
        if len(alike) == 1:
            return words, noun
        self.sized.update(alike)
        return ((thing.size, *words), noun) if sum(other.size == thing.size for other in alike) == 1 else None

    def rivals(self, thing: Thing, axis: int, bare: bool) -> list[tuple[str, str]]:
        """Pairs that are not in the scene, but could stand in this object's place with all that was said still true:
        its colour (axis 0) or shape (axis 1) exchanged for another, neither of them named before.

        If `bare`, the other colour or shape is nowhere in the scene.
        """
        if self.space.unusual and thing.pair in HELD_OUT and not bare:
            return self._unusual_rivals(thing)
        named = (self.colours, self.shapes)[axis]
        own = thing.pair[axis]
        if own in named:
            return []
        found = []
        for value in (self.space.colours, self.space.shapes)[axis]:
            if value == own or value in named or (bare and any(pair[axis] == value for pair in self.pairs)):
                continue
            pair = (value, thing.shape) if axis == 0 else (thing.colour, value)
            if pair not in self.pairs and self.space.admits(exchanged(self.pairs, axis, own, value)):
                found.append(pair)
        return found

    def _unusual_rivals(self, thing: Thing) -> list[tuple[str, str]]:
        """For a held-out pair another held-out one, lest the answer be told by which pairs are held out."""
        if thing.colour in self.colours or thing.shape in self.shapes:
            return []
        return [
            (colour, shape)
            for colour, shape in self.space.held_out
            if colour not in self.colours and shape not in self.shapes and (colour, shape) not in self.pairs
        ]

    def mention(self, *names: str) -> None:
        """Take note of the colours and shapes among the names."""
        for name in names:
            if name in self.space.colours:
                self.colours.add(name)
            elif name in self.space.shapes:
                self.shapes.add(name)

    def the(self, phrase: Phrase, case: Case = "nom") -> str:
        """The definite phrase in words; what it names has now been named."""
        self.mention(*phrase[0], phrase[1])
        return self.grammar.phrase(True, *phrase, case)

    def turn(self, kind: Question, template: str, answer: str, choices: Sequence[str], **slots: str) -> Turn:
        """A turn in words: one of the template's wordings, filled in."""
        self.mention(answer)
        self.begun = True
        word = self.grammar.word
        question = self.dice.pick(self.grammar.questions[template]).format(**slots)
        return Turn(kind, question, word(answer), tuple(map(word, choices)))


def exchanged(pairs: Sequence[tuple[str, str]], axis: int, one: str, other: str) -> list[tuple[str, str]]:
    """The pairs with two colours (axis 0) or two shapes (axis 1) exchanged."""
    swap = {one: other, other: one}
    if axis == 0:
        return [(swap.get(colour, colour), shape) for colour, shape in pairs]
    return [(colour, swap.get(shape, shape)) for colour, shape in pairs]
