"""The words of the worlds' languages, and the grammar that bends them: English and German."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Tongue = Literal["en", "de"]
Case = Literal["nom", "acc", "dat"]
Noun = tuple[str, str, str]
"""Singular, plural, gender ("m", "n" or "f")."""


@dataclass(frozen=True, eq=False)
class Grammar(ABC):
    """Words of one language and how they make phrases.

    Templates name what they need: {x} an indefinite phrase as an object, {a} a definite subject, {b} a second definite
    phrase (after a relation or a comparison), {many} and {others} plurals, {where} and {other} relations, {side} one
    as it stands in an answer.
    """

    nouns: dict[str, Noun]
    adjectives: dict[str, str]
    relations: dict[str, str]
    answers: dict[str, str]
    regions: dict[tuple[int, int], str]
    numbers: tuple[str, ...]
    joiner: str
    middle: str
    questions: dict[str, tuple[str, ...]]
    texts: dict[str, tuple[str, ...]]

    @abstractmethod
    def phrase(self, definite: bool, words: tuple[str, ...], noun: str, case: Case = "nom") -> str:
        """A noun phrase such as "a small red circle"; words that have no name here ("plain") are left out."""

    @abstractmethod
    def plural(self, words: tuple[str, ...], noun: str) -> str:
        """A plural without article, such as "red circles"."""

    def word(self, name: str) -> str:
        """The bare word of an answer: "yes", "red", "circle", "small", "3"."""
        if name in self.nouns:
            return self.nouns[name][0]
        return self.answers.get(name) or self.adjectives.get(name) or name

    def join(self, phrases: list[str]) -> str:
        """A list in running text: "a, b and c"."""
        if len(phrases) < 2:
            return "".join(phrases)
        return f"{', '.join(phrases[:-1])} {self.joiner} {phrases[-1]}"


class English(Grammar):
    """English has neither gender nor case; only "a" and "an" differ."""

    def phrase(self, definite: bool, words: tuple[str, ...], noun: str, case: Case = "nom") -> str:
        text = " ".join([*(self.adjectives[w] for w in words if w in self.adjectives), self.nouns[noun][0]])
        article = "the" if definite else "an" if text[0] in "aeiou" else "a"
        return f"{article} {text}"

    def plural(self, words: tuple[str, ...], noun: str) -> str:
        return " ".join([*(self.adjectives[w] for w in words if w in self.adjectives), self.nouns[noun][1]])


class German(Grammar):
    """German bends articles and adjectives by gender and case; a few colours never change."""

    def phrase(self, definite: bool, words: tuple[str, ...], noun: str, case: Case = "nom") -> str:
        text, _, gender = self.nouns[noun]
        article, ending = (_DEFINITE if definite else _INDEFINITE)[case][gender]
        return " ".join([article, *self._bent(words, ending), text])

    def plural(self, words: tuple[str, ...], noun: str) -> str:
        return " ".join([*self._bent(words, "e"), self.nouns[noun][1]])

    def _bent(self, words: tuple[str, ...], ending: str) -> list[str]:
        stems = [self.adjectives[w] for w in words if w in self.adjectives]
        return [stem if stem in _UNBENT else stem + ending for stem in stems]


_UNBENT = frozenset({"lila", "orange", "türkis"})
_DEFINITE: dict[str, dict[str, tuple[str, str]]] = {
    "nom": {"m": ("der", "e"), "n": ("das", "e"), "f": ("die", "e")},
    "acc": {"m": ("den", "en"), "n": ("das", "e"), "f": ("die", "e")},
    "dat": {"m": ("dem", "en"), "n": ("dem", "en"), "f": ("der", "en")},
}
_INDEFINITE: dict[str, dict[str, tuple[str, str]]] = {
    "nom": {"m": ("ein", "er"), "n": ("ein", "es"), "f": ("eine", "e")},
    "acc": {"m": ("einen", "en"), "n": ("ein", "es"), "f": ("eine", "e")},
    "dat": {"m": ("einem", "en"), "n": ("einem", "en"), "f": ("einer", "en")},
}
