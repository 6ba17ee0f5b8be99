"""Captions of scenes, and a parser that reads which objects a caption names."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import NamedTuple

from sensorium.data.worlds.dice import Dice
from sensorium.data.worlds.scene import COLOURS, SHAPES, SIZES, Scene, Thing
from sensorium.data.worlds.tongues import GRAMMARS
from sensorium.data.worlds.vocabulary import Grammar


class Mention(NamedTuple):
    """An object that a text names; None where the text does not say."""

    colour: str | None
    shape: str | None
    size: str | None = None


def short_caption(scene: Scene, grammar: Grammar, dice: Dice) -> tuple[str, str]:
    """A prompt and the list of all objects from left to right; the prompt's wording settles the caption's."""
    prompts, captions = grammar.texts["short-prompt"], grammar.texts["short"]
    variant = dice.below(len(prompts))
    return prompts[variant], captions[variant].format(list=list_of(scene, grammar))


def list_of(scene: Scene, grammar: Grammar) -> str:
    """The objects from left to right, such as "a small red circle and a large blue star"."""
    return grammar.join([grammar.phrase(False, (t.size, t.colour), t.shape) for t in scene.objects])


def dense_caption(scene: Scene, grammar: Grammar, dice: Dice) -> tuple[str, str]:
    """A prompt and sentences on every object's texture and place, on relations, background and writing."""
    texts = grammar.texts
    sentences = []
    for thing in scene.objects:
        x = grammar.phrase(False, (thing.size, thing.colour, thing.texture), thing.shape)
        sentences.append(texts["place"][0].format(x=x, region=grammar.regions[region_of(thing)]))
    for first, second in zip(scene.objects, scene.objects[1:], strict=False):
        where = relation_between(first, second)
        if where and all(sum(o.pair == t.pair for o in scene.objects) == 1 for t in (first, second)):
            a = grammar.phrase(True, (first.colour,), first.shape)
            b = grammar.phrase(True, (second.colour,), second.shape, "dat")
            sentences.append(texts["relation"][0].format(a=a, b=b, where=grammar.relations[where]))
    sentences.append(texts[scene.background.kind][0])
    if scene.writing is not None:
        sentences.append(texts["number" if scene.writing.is_number else "word"][0].format(text=scene.writing.text))
    return dice.pick(texts["dense-prompt"]), " ".join(s[0].upper() + s[1:] for s in sentences)


def region_of(thing: Thing) -> tuple[int, int]:
    """(column, row) of the third of the picture in which the object's centre is."""
    return min(2, int(3 * thing.x)), min(2, int(3 * thing.y))


def relation_between(first: Thing, second: Thing) -> str | None:
    """The relation along the axis that separates the two most clearly, or None if neither does."""
    dx, dy = second.x - first.x, second.y - first.y
    if max(abs(dx), abs(dy)) < (first.diameter + second.diameter) / 2:
        return None
    if abs(dx) >= abs(dy):
        return "left" if dx > 0 else "right"
    return "above" if dy > 0 else "below"


def parse_caption(text: str, language: str = "en") -> list[Mention]:
    """The objects that a caption names, in order; "two red circles" counts twice.

    A noun, the adjectives before it and a number word make a mention. Definite phrases ("the red circle") point back
    to something already named and are not counted.
    """
    lexicon = _lexicon(language)
    mentions: list[Mention] = []
    found: dict[str, str] = {}
    times, definite = 1, False
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        kind, value = lexicon.get(word, ("", ""))
        if kind in ("colour", "size"):
            found[kind] = value
        elif kind == "noun":
            shape = value if value != "object" else None
            if not definite:
                mentions += [Mention(found.get("colour"), shape, found.get("size"))] * times
            found, times, definite = {}, 1, False
        elif kind != "texture":
            found, times, definite = {}, int(value) if kind == "number" else 1, kind == "the"
    return mentions


def caption_hits(text: str, scene: Scene, language: str = "en") -> tuple[int, int, int]:
    """(true positives, named, present): how many objects the caption names rightly by colour and shape, how many it
    names at all, and how many there are. Precision is the first over the second, recall the first over the third."""
    named = Counter((mention.colour, mention.shape) for mention in parse_caption(text, language))
    present: Counter[tuple[str | None, str | None]] = Counter(thing.pair for thing in scene.objects)
    return (named & present).total(), named.total(), present.total()


@cache
def _lexicon(language: str) -> dict[str, tuple[str, str]]:
    """Every form of every word that matters, in lower case, to its kind and meaning."""
    grammar = GRAMMARS[language]
    lexicon = {number: ("number", str(n)) for n, number in enumerate(grammar.numbers) if n > 1}
    lexicon |= {str(n): ("number", str(n)) for n in range(2, 13)}
    lexicon |= dict.fromkeys(("the", "der", "die", "das", "dem", "den"), ("the", ""))
    for name, word in grammar.adjectives.items():
        kind = "colour" if name in COLOURS else "size" if name in SIZES else "texture"
        for ending in ("", "e", "er", "es", "en", "em") if language == "de" else ("",):
            lexicon[word + ending] = (kind, name)
    for name, (singular, plural, _) in grammar.nouns.items():
        assert name in SHAPES or name == "object"
        for form in (singular, plural, *((plural + "n", singular + "s") if language == "de" else ())):
            lexicon[form.lower()] = ("noun", name)
    return lexicon
