"""Measures of text that tell prose from lists of links, search words, code and repetition, and cutoffs on them.

They are those of OBELICS (2306.16527, appendix A.2), which has most from the pipeline of the BLOOM corpus.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from math import isqrt
from typing import Annotated

from pydantic import Field, field_validator

from sensorium.documents.filter import DocumentFilter
from sensorium.documents.words import known_language, stop_words, words

CHARACTERS, WORDS = 10, 5
"""Lengths of the runs of characters and of words whose repetition is measured."""
PUNCTUATED = 12
"""Words and marks from which a text is long enough to be asked for punctuation."""
FLAGGED = ("camgirl", "camgirls", "hentai", "milf", "porn", "porno", "pornhub", "pornstar", "sexcam", "xnxx", "xvideos",
           "xxx")  # fmt: skip
PUNCTUATION = set(".,;:!?…。，、；：！？।؟،")


Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[int, Field(ge=0)]
Repeated = Annotated[Share, Field(description="of the runs of 10 characters, the share of the most frequent repeated")]
RepeatedWords = Annotated[Share, Field(description="share of the runs of 5 words that occur more than once")]
Special = Annotated[Share, Field(description="share of characters that are no letters, spaces and digits among them")]
Listed = Annotated[Share, Field(description="share of words")]
Marks = Annotated[Share, Field(description="share of marks in words and marks, if there are 12 or more")]


class Cutoffs(DocumentFilter.Config):
    """Base of the configs that measure text. A text without words is judged by its number of words alone."""

    language: str = Field(default="en", description="whose stop words are counted; of ja and zh there are none")
    flagged: tuple[str, ...] = Field(default=FLAGGED, description="words of pages that are not wanted")
    min_words: Words
    max_words: Words
    max_character_repetition: Repeated
    max_word_repetition: RepeatedWords
    max_special: Special
    min_stop_words: Listed
    max_flagged: Listed
    min_punctuation: Marks

    @field_validator("language")
    @classmethod
    def _is_known(cls, language: str) -> str:
        return known_language(language)

    def fault(self, text: str) -> str | None:
        """The first cutoff that a text does not keep, with its measure; None if it keeps all."""
        found = words(text)
        if not self.min_words <= len(found) <= self.max_words:
            return f"{len(found)} words, not {self.min_words} to {self.max_words}"
        for what, value, least, most in self._measures(text, found) if found else ():
            if not least <= value <= most:
                return f"{what} {value:.3f}, not {f'below {most:g}' if value > most else f'{least:g} or more'}"
        return None

    def _measures(self, text: str, found: Sequence[str]) -> Iterator[tuple[str, float, float, float]]:
        yield "repetition of characters", character_repetition(text), 0, self.max_character_repetition
        yield "repetition of words", word_repetition(found), 0, self.max_word_repetition
        yield "special characters", special_ratio(text), 0, self.max_special
        if listed := stop_words(self.language):
            yield "stop words", ratio(found, listed), self.min_stop_words, 1
        yield "flagged words", ratio(found, self.flagged), 0, self.max_flagged
        yield "punctuation", punctuation_ratio(text), self.min_punctuation, 1


def character_repetition(text: str) -> float:
    """The share that the most frequent runs of ten characters have of all runs: as many as the root of the number of
    different ones, those aside that occur once."""
    counts = sorted(Counter(text[i : i + CHARACTERS] for i in range(len(text) - CHARACTERS + 1)).values(), reverse=True)
    repeated = sum(count > 1 for count in counts)
    return sum(counts[: min(isqrt(len(counts)), repeated)]) / max(1, sum(counts))


def word_repetition(found: Sequence[str]) -> float:
    """The share of the runs of five words that occur more than once."""
    counts = Counter(tuple(found[i : i + WORDS]) for i in range(len(found) - WORDS + 1)).values()
    return sum(count for count in counts if count > 1) / max(1, sum(counts))


def special_ratio(text: str) -> float:
    """The share of characters that are no letters."""
    return sum(unicodedata.category(letter)[0] not in "LM" for letter in text) / max(1, len(text))


def ratio(found: Sequence[str], listed: Collection[str]) -> float:
    """The share of words that are listed."""
    return sum(word in listed for word in found) / max(1, len(found))


def punctuation_ratio(text: str) -> float:
    """The share of words and marks that are marks; 1 of a short text, which need not have any."""
    marks = sum(letter in PUNCTUATION for letter in text)
    total = len(re.findall(r"[\w']+", text)) + marks
    return marks / total if total >= PUNCTUATED else 1.0
