"""Interleaved documents: a few pictures of one scene as it changes, and text that points from one to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.language import list_of, region_of
from sensorium.data.worlds.placement import fits
from sensorium.data.worlds.render import SceneView
from sensorium.data.worlds.scene import DIAMETERS, SIZES, Scene, Space, Thing
from sensorium.data.worlds.talk import Turn
from sensorium.data.worlds.vocabulary import Grammar
from sensorium.sample import Image, Sample, Segment, Text

Kind = Literal["remove", "add", "recolour", "resize", "move", "same"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_ASKED = {"remove": 0.6, "add": 0.6}
"""How often a change is asked for rather than told; 0.15 for the others, which leave all numbers as they are."""
_TRIES = 24


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one object from a picture to the next; None before it is added, after it is removed, and
    twice where nothing happens ("same")."""

    kind: Kind
    before: Thing | None
    after: Thing | None


def document(
    scene: Scene, space: Space, grammar: Grammar, dice: Dice, size: tuple[int, int], *, id: str, source: str
) -> Sample:
    """Two or three pictures: the first is described, of each later one it is told or asked what has changed.

    What a reader could not know from the text before (descriptions and answers) is supervised.
    """
    scenes, changes = [scene], []
    for _ in range(dice.between(1, 2)):
        scene, change = change_scene(scene, space, dice)
        scenes.append(scene)
        changes.append(change)
    texts, ordinals = grammar.texts, grammar.texts["ordinals"]
    first = dice.pick(texts["first"]).format(list=list_of(scenes[0], grammar))
    segments: list[Segment] = [
        Text(dice.pick(texts["opening"]).format(n=grammar.numbers[len(scenes)]), role="document"),
        Image(SceneView(scenes[0], size), role="document"),
        Text(first if first.endswith(".") else first + ".", role="document", supervise=True),
    ]
    questions = []
    for number, change in enumerate(changes, start=1):
        segments.append(Image(SceneView(scenes[number], size), role="document"))
        if dice.chance(_ASKED.get(change.kind, 0.15)):
            turn = ask(change, ordinals[number - 1 : number + 1], space, grammar, dice)
            questions.append(turn.to_dict())
            segments.append(Text(turn.question, role="document"))
            segments.append(Text(f" {turn.answer}", role="document", supervise=True))
        else:
            told = tell(change, ordinals[number], grammar, dice)
            segments.append(Text(told, role="document", supervise=True))
    meta = {"scene": scenes[0], "scenes": tuple(scenes), "changes": tuple(changes), "questions": questions}
    return Sample(tuple(segments), id=id, source=source, meta=meta)


def change_scene(scene: Scene, space: Space, dice: Dice) -> tuple[Scene, Change]:
    """A scene that differs from this one by at most one object, and how."""
    kinds = dice.shuffled(_KINDS)
    for kind in kinds[: kinds.index("same")]:
        for _ in range(_TRIES):
            change = _propose(kind, scene, space, dice)
            objects = [thing for thing in scene.objects if change is None or thing != change.before]
            if change is None or (change.after and not fits(change.after, objects, scene.writing)):
                continue
            objects += [change.after] if change.after else []
            if space.admits([thing.pair for thing in objects]):
                return replace(scene, objects=tuple(sorted(objects, key=lambda thing: thing.x))), change
    return scene, Change("same", None, None)


def _propose(kind: Kind, scene: Scene, space: Space, dice: Dice) -> Change | None:
    """A change of the kind to an object that can be told from all others, or None if this draw is of no use."""
    thing, pairs = dice.pick(scene.objects), [thing.pair for thing in scene.objects]
    if kind == "add":
        colour, shape = dice.pick(space.pairs)
        size = dice.pick(SIZES)
        place = (dice.unit(), dice.unit(), dice.span(*DIAMETERS[size]), round(dice.span(0.05, 0.95), 3))
        new = Thing(shape, colour, size, dice.pick(space.textures), *place, tint=dice.span(0.85, 1))
        return Change(kind, None, new) if new.pair not in pairs and len(pairs) < space.objects[1] + 1 else None
    if pairs.count(thing.pair) > 1:
        return None
    if kind == "remove":
        return Change(kind, thing, None) if len(pairs) > 1 else None
    if kind == "recolour":
        after = replace(thing, colour=dice.pick(space.colours))
        return Change(kind, thing, after) if after.pair not in pairs else None
    if kind == "resize":
        size = "large" if thing.size == "small" else "small"
        return Change(kind, thing, replace(thing, size=size, diameter=dice.span(*DIAMETERS[size])))
    after = replace(thing, x=dice.unit(), y=dice.unit())
    thirds = [(int(3 * t.x), int(3 * t.y)) for t in (thing, after)]
    return Change(kind, thing, after) if thirds[0] != thirds[1] else None


def tell(change: Change, ordinal: str, grammar: Grammar, dice: Dice) -> str:
    """A sentence that says what has changed."""
    slots = {"nth": ordinal}
    shown = change.before or change.after
    if shown is not None:
        slots["a"] = grammar.phrase(True, (shown.colour,), shown.shape)
    if change.after is not None:
        after = change.after
        slots["x"] = grammar.phrase(False, (after.size, after.colour), after.shape, "acc")
        slots |= {"colour": grammar.word(after.colour), "size": grammar.word(after.size)}
        slots["region"] = grammar.regions[region_of(after)]
    return dice.pick(grammar.texts[change.kind]).format(**slots)


def ask(change: Change, ordinals: tuple[str, ...], space: Space, grammar: Grammar, dice: Dice) -> Turn:
    """A question about two pictures in a row, of which the ordinals are the names; only both together answer it."""
    texts, shown = grammar.texts, change.before or change.after
    margin = (change.after is not None) - (change.before is not None)
    form = dice.pick(("difference", "compare", "more") if change.kind == "add" else ("difference", "compare"))
    if shown is None or margin == 0 or form == "difference":
        answers = texts["difference"]
        return Turn("count", texts["difference-prompt"][0], answers[margin + 1], answers)
    if form == "more":
        new = dice.chance(0.5)
        shape = shown.shape if new else dice.pick([shape for shape in space.shapes if shape != shown.shape])
        question = texts["more-prompt"][0].format(many=grammar.plural((), shape))
        return Turn("count", question, "1" if new else "0", ("0", "1"))
    # The order in which the two pictures are offered says nothing of which is right.
    nth, mth = dice.shuffled(ordinals)
    question = texts["compare-prompt"][0].format(many=grammar.plural((), shown.shape), nth=nth, mth=mth)
    choices = tuple(texts["compare"][0].format(nth=ordinal) for ordinal in ordinals)
    return Turn("comparison", question, choices[change.kind == "add"], choices)
