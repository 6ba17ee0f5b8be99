"""Documents whose text as a whole is no prose go."""

from __future__ import annotations

from sensorium.documents.document import BREAK, paragraphs
from sensorium.documents.filter import DocumentFilter
from sensorium.documents.quality import Cutoffs
from sensorium.sample import Sample


class DocumentQuality(DocumentFilter, name="document-quality"):
    """Drops documents by all of their text; the cutoffs are those of OBELICS (2306.16527, table of appendix A.2),
    stricter than those of paragraphs because short texts vary more. Its limit of 2,000 words is for web pages; here it
    is 50,000, for PDFs."""

    class Config(Cutoffs):
        min_words: int = 10
        max_words: int = 50_000
        max_character_repetition: float = 0.1
        max_word_repetition: float = 0.2
        max_special: float = 0.275
        min_stop_words: float = 0.35
        max_flagged: float = 0.01
        min_punctuation: float = 0.03

    config: Config

    def objection(self, document: Sample) -> str | None:
        return self.config.fault(BREAK.join(paragraphs(document)))
