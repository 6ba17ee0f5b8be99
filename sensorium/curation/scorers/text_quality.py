"""What can be told of a caption by counting."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.curation.pairs import caption_of
from sensorium.curation.step import Kind, Scorer
from sensorium.curation.words import words_of
from sensorium.sample import Sample


class TextQuality(Scorer, name="text-quality"):
    """`words` and `characters`, for bounds such as DataComp's basic filter (Gadre et al., arXiv 2304.14108, section
    3.1: more than two words, more than five characters); `letters`, the share of characters that are letters or spaces;
    `distinct`, the share of words that are not repetitions (both as in Gopher, Rae et al., arXiv 2112.11446,
    appendix A.1)."""

    class Config(Scorer.Config):
        @property
        def columns(self) -> dict[str, Kind]:
            return dict.fromkeys(("words", "characters", "letters", "distinct"), "number")

    def read(self, sample: Sample) -> str:
        return caption_of(sample)

    def score(self, items: Sequence[str]) -> list[tuple[float, ...]]:
        return [measure(text) for text in items]


def measure(text: str) -> tuple[float, float, float, float]:
    """(words, characters, letters, distinct)"""
    words = words_of(text)
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return len(words), len(text), letters / max(1, len(text)), len(set(words)) / max(1, len(words))
