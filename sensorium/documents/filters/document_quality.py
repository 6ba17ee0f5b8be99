"""Documents whose text as a whole is no prose go."""

from __future__ import annotations

from sensorium.documents.document import BREAK, paragraphs
from sensorium.documents.filter import DocumentFilter
from sensorium.documents.quality import Cutoffs, Listed, Marks, Repeated, RepeatedWords, Special, Words
from sensorium.sample import Sample


class DocumentQuality(DocumentFilter, name="document-quality"):
    """Drops documents by all of their text; the cutoffs are those of OBELICS (2306.16527, table of appendix A.2),
    stricter than those of paragraphs because short texts vary more. Its limit of 2,000 words is for web pages; here it
    is 50,000, for PDFs."""

    class Config(Cutoffs):
        min_words: Words = 10
        max_words: Words = 50_000
        max_character_repetition: Repeated = 0.1
        max_word_repetition: RepeatedWords = 0.2
        max_special: Special = 0.275
        min_stop_words: Listed = 0.35
        max_flagged: Listed = 0.01
        min_punctuation: Marks = 0.03

    config: Config

    def objection(self, document: Sample) -> str | None:
        return self.config.fault(BREAK.join(paragraphs(document)))
