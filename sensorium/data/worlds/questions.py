"""Conversations about a scene whose answers cannot be guessed from their words.

Why a reader of the text alone stays at chance: scenes are drawn so that colours can be exchanged with colours, shapes
with shapes, sizes of single objects with each other, and left with right, without changing how likely the scene is.
Every question is asked only when such an exchange would leave all that was said before untouched and turn its answer
into another one. So given the question and the whole history, the answers it may have are equally likely.
`docs/factorworld.md` has the argument in full, and what it does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.scene import SIZES, WORDS, Scene, Space, Thing
from sensorium.data.worlds.talk import YES_NO, Question, Talk, Turn, exchanged
from sensorium.data.worlds.vocabulary import Grammar

_HARD = 0.7
_BARE = 0.3
_MIDDLE = 0.25


def converse(
    scene: Scene, space: Space, grammar: Grammar, dice: Dice, types: Sequence[Question], turns: int
) -> list[Turn]:
    """Up to `turns` turns of the given types about the scene; fewer when nothing fair is left to ask.

    Numbers, then colours and shapes are asked before anything else, because other questions give them away. Where a
    type cannot be asked about the scene, another takes its place: one that was not wanted only if none can be asked.
    """
    talk = Talk(scene, space, grammar, dice)
    plan = (dice.shuffled(types) * (turns // len(types) + 1))[:turns]
    plan.sort(key=lambda kind: {"count": 0, "colour": 1, "shape": 1}.get(kind, 2))
    result = [turn for kind in plan if (turn := ASK[kind](talk)) is not None]
    while len(result) < turns and (turn := _any(talk, types)):
        result.append(turn)
    return result or [turn for turn in (_any(talk, tuple(ASK)),) if turn]


def _any(talk: Talk, types: Sequence[Question]) -> Turn | None:
    """A turn of whichever type can be asked."""
    return next((turn for kind in talk.dice.shuffled(types) if (turn := ASK[kind](talk)) is not None), None)


def existence(talk: Talk) -> Turn | None:
    """Is there a red circle? An object that is there against one that differs in a colour or shape not yet named."""
    dice, bare = talk.dice, talk.dice.chance(_BARE)
    for thing in talk.candidates():
        for axis in dice.shuffled((0, 1)):
            rivals = talk.rivals(thing, axis, bare)
            if not rivals:
                continue
            # Hard: what the rival is made of is all in the picture, only not together.
            hard = [pair for pair in rivals if any(pair[axis] == other[axis] for other in talk.pairs)]
            rival = dice.pick(hard if hard and dice.chance(_HARD) else rivals)
            answer = dice.chance(0.5)
            colour, shape = thing.pair if answer else rival
            words, noun = ((), shape) if bare and axis == 1 else ((colour,), "object" if bare else shape)
            talk.mention(*words, noun)
            x = talk.grammar.phrase(False, words, noun, "acc")
            return talk.turn("existence", "existence", "yes" if answer else "no", YES_NO, x=x)
    return None


def count(talk: Talk) -> Turn | None:
    """How many circles are there? About the scene's focus and only at the start, where all numbers are as likely."""
    if talk.begun:
        return None
    attribute, value = talk.scene.focus
    words, noun = ((value,), "object") if attribute == "colour" else ((), value)
    talk.mention(value)
    choices = tuple(map(str, range(talk.space.objects[1] + 1)))
    many = talk.grammar.plural(words, noun)
    return talk.turn("count", "count", str(talk.scene.count(attribute, value)), choices, many=many)


def colour(talk: Talk) -> Turn | None:
    """What colour is the circle? While at most a quarter of the colours has been named."""
    if 4 * len(talk.colours) > len(talk.space.colours):
        return None
    for thing in talk.candidates(by="shape"):
        phrase = talk.description_by(thing, "shape") if thing.colour not in talk.colours else None
        if phrase:
            return talk.turn("colour", "colour", thing.colour, talk.space.colours, a=talk.the(phrase))
    return None


def shape(talk: Talk) -> Turn | None:
    """What shape is the red object? While at most a third of the shapes has been named."""
    if 3 * len(talk.shapes) > len(talk.space.shapes):
        return None
    for thing in talk.candidates(by="colour"):
        phrase = talk.description_by(thing, "colour") if thing.shape not in talk.shapes else None
        if phrase:
            return talk.turn("shape", "shape", thing.shape, talk.space.shapes, a=talk.the(phrase))
    return None


def size(talk: Talk) -> Turn | None:
    """Is the red circle small or large? Once for every object."""
    for thing in talk.candidates():
        ways = talk.descriptions(thing) if thing not in talk.sized else []
        if ways:
            talk.sized.add(thing)
            return talk.turn("size", "size", thing.size, SIZES, a=talk.the(talk.dice.pick(ways)))
    return None


def relation(talk: Talk) -> Turn | None:
    """Is the red circle left or right of the blue square, or of the middle? Along each axis about new objects every
    time: of three in a row, two answers give a hint of the third."""
    for axis in talk.dice.shuffled(("x", "y")):
        free = [thing for thing in talk.candidates() if thing not in talk.placed[axis] and talk.descriptions(thing)]
        pairs: list[tuple[Thing, Thing | None]] = list(permutations(free, 2))
        middle: list[tuple[Thing, Thing | None]] = [(thing, None) for thing in free]
        for first, second in middle + pairs if talk.dice.chance(_MIDDLE) else pairs + middle:
            gap = (getattr(second, axis) if second else 0.5) - getattr(first, axis)
            if abs(gap) < (first.diameter + (second.diameter if second else 0)) / 2:
                continue  # neither is wholly on one side of the other
            talk.placed[axis] |= {first, second} if second else {first}
            sides = ("left", "right") if axis == "x" else ("above", "below")
            side, other = talk.dice.shuffled(sides)
            slots = {"side": talk.grammar.answers[side], "other": talk.grammar.relations[other]}
            slots["a"] = talk.the(talk.dice.pick(talk.descriptions(first)))
            slots["b"] = talk.the(talk.dice.pick(talk.descriptions(second)), "dat") if second else talk.grammar.middle
            return talk.turn("relation", "relation", sides[gap < 0], sides, **slots)
    return None


def comparison(talk: Talk) -> Turn | None:
    """Is the red circle larger than the blue square? Are there more circles than stars?"""
    for form in talk.dice.shuffled((_compare_sizes, _compare_numbers)):
        turn = form(talk)
        if turn is not None:
            return turn
    return None


def _compare_sizes(talk: Talk) -> Turn | None:
    """Of two objects whose sizes are both unknown. Where they turn out to be alike, that is not asked, but gives the
    one away as soon as the other is known."""
    free = [thing for thing in talk.candidates() if thing not in talk.sized and talk.unique(thing)]
    for first, second in zip(free[::2], free[1::2], strict=False):
        talk.sized |= {first, second}
        if first.size != second.size:
            word = talk.dice.pick(("larger", "smaller"))
            answer = "yes" if (first.size == "large") == (word == "larger") else "no"
            slots = {"a": talk.the(((first.colour,), first.shape)), "b": talk.the(((second.colour,), second.shape))}
            return talk.turn("comparison", word, answer, YES_NO, **slots)
    return None


def _compare_numbers(talk: Talk) -> Turn | None:
    """Of two shapes that have not been named, if there are more of one than of the other."""
    free = talk.dice.shuffled([name for name in talk.space.shapes if name not in talk.shapes])
    free.sort(key=lambda name: not talk.scene.count("shape", name))
    for pair in permutations(free, 2):
        first, second = talk.dice.shuffled(pair)
        margin = talk.scene.count("shape", first) - talk.scene.count("shape", second)
        if margin and talk.space.admits(exchanged(talk.pairs, 1, first, second)):
            talk.mention(first, second)
            word = talk.dice.pick(("more", "fewer"))
            slots = {"many": talk.grammar.plural((), first), "others": talk.grammar.plural((), second)}
            return talk.turn("comparison", word, "yes" if (margin > 0) == (word == "more") else "no", YES_NO, **slots)
    return None


def reading(talk: Talk) -> Turn | None:
    """What does the text say? Once, if something is written."""
    writing = talk.scene.writing
    if writing is None or talk.read:
        return None
    talk.read = True
    choices = tuple(map(str, range(10, 100))) if writing.is_number else WORDS
    return talk.turn("reading", "number" if writing.is_number else "word", writing.text, choices)


ASK: dict[Question, Callable[[Talk], Turn | None]] = {
    "existence": existence,
    "count": count,
    "colour": colour,
    "shape": shape,
    "size": size,
    "relation": relation,
    "comparison": comparison,
    "reading": reading,
}
"""How each type of question is asked; None where it cannot be asked fairly."""
