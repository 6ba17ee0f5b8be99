"""Paragraphs that are no prose go."""

from __future__ import annotations

from sensorium.documents.filter import DocumentFilter
from sensorium.documents.quality import Cutoffs, Listed, Marks, Repeated, RepeatedWords, Special, Words
from sensorium.sample import Sample, Text


class ParagraphQuality(DocumentFilter, name="paragraph-quality"):
    """Cuts paragraphs by their length and their text; the cutoffs are those of OBELICS (2306.16527, table of appendix
    A.2), but for its lists of common and spam words and its perplexity, which need models."""

    class Config(Cutoffs):
        min_words: Words = 4
        max_words: Words = 1_000
        max_character_repetition: Repeated = 0.1
        max_word_repetition: RepeatedWords = 0.1
        max_special: Special = 0.3
        min_stop_words: Listed = 0.3
        max_flagged: Listed = 0.01
        min_punctuation: Marks = 0.001

    config: Config

    def cuts(self, document: Sample) -> dict[int, str]:
        texts = {place: one.text for place, one in enumerate(document.segments) if isinstance(one, Text)}
        return {place: fault for place, text in texts.items() if (fault := self.config.fault(text))}
