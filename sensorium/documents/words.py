"""Words, stop words and the language of a text, by small means: frequent words and the letters that words are of."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice

from sensorium.assets import need
from sensorium.config import nearest

STOP_LISTS = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ko": "Korean", "nb": "Norwegian_Bokmal", "nl": "Dutch", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese",
}  # fmt: skip
"""Languages by their ISO 639-1 code, and the name of the list of frequent words that jusText has of each."""
LANGUAGES = tuple(sorted([*STOP_LISTS, "ja", "zh"]))
"""What `identify` knows. Japanese and Chinese have no lists of words and are told by their script alone."""

LISTED = 250
"""Frequent words of each language that are used: as many of each, or long lists would attract words."""
READ = 200
"""Words that the language of a text is told from."""
FREQUENT = 0.9
"""The share of words that are among the frequent ones; a high one, for those tell languages best."""
ALONE = 30
"""The weight of how frequent a letter is in all, against how often it follows the two before it."""
_KANA, _HAN = "\u3040-\u30ff", "\u3400-\u9fff"
_LETTER = rf"[^\W\d_{_KANA}{_HAN}]"
_WORD = re.compile(rf"[{_KANA}{_HAN}]|{_LETTER}(?:{_LETTER}|[\u0300-\u036f\u0900-\u0963'’])*|\d+")


def words(text: str) -> list[str]:
    """Words and numbers in lower case; every letter of Chinese and Japanese is a word."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def known_language(language: str) -> str:
    """The language itself; for configs, a `ValueError` that names the nearest if it is not known."""
    if language not in LANGUAGES:
        raise ValueError(f"unknown language '{language}': {nearest(language, LANGUAGES)}")
    return language


@cache
def stop_words(language: str) -> Mapping[str, int]:
    """The frequent words of a language of `LANGUAGES` and their ranks from 0; none of Japanese and Chinese."""
    if language not in STOP_LISTS:
        return {}
    need("justext", "documents", "counting stop words")
    lists = files("justext") / "stoplists"
    lines = (lists / f"{STOP_LISTS[language]}.txt").read_text("utf-8").splitlines()
    found = dict.fromkeys(word for line in lines for word in words(line))
    return {word: rank for rank, word in enumerate(islice(found, LISTED))}


def identify(text: str, among: Sequence[str] = LANGUAGES) -> str:
    """The likeliest language of a text, "" of one without letters.

    The likelihood of a word is that of a draw from the language's frequent words (by Zipf's law) or else of its
    letters, each after the two before it, which are counted on the same words.
    """
    found = [word for word in words(text)[:READ] if not word.isdigit()]
    spaceless = "".join(word for word in found if re.match(f"[{_KANA}{_HAN}]", word))
    if 2 * len(spaceless) > len(found):
        return "ja" if re.search(f"[{_KANA}]", spaceless) else "zh"
    listed = [language for language in among if language in STOP_LISTS]
    if not found or not listed:
        return ""
    return max(listed, key=lambda language: sum(_log_likelihood(word, language) for word in found))


@lru_cache(maxsize=200_000)
def _log_likelihood(word: str, language: str) -> float:
    ranks, letters = stop_words(language), _letters(language)
    frequent = 1 / (ranks[word] + 3) / math.log(LISTED) if word in ranks else 0.0
    padded, spelled = f" {word} ", 1.0
    for i in range(len(padded) - 2):
        alone = (letters[padded[i + 2]] + 0.1) / (letters[""] + 10)
        spelled *= (letters[padded[i : i + 3]] + ALONE * alone) / (letters[padded[i : i + 2]] + ALONE)
    return math.log(FREQUENT * frequent + (1 - FREQUENT) * spelled + sys.float_info.min)


@cache
def _letters(language: str) -> Counter[str]:
    """How often letters, pairs before a letter and threes of letters are in a language's frequent words, and under ""
    how many letters there are."""
    counts = Counter[str]()
    for word in stop_words(language):
        padded = f" {word} "
        for i in range(len(padded) - 2):
            counts.update((padded[i : i + 3], padded[i : i + 2], padded[i + 2], ""))
    return counts
