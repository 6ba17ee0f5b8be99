"""Paragraphs that were there before go."""

from __future__ import annotations

from pydantic import Field

from sensorium.data.records import normal
from sensorium.documents.bloom import BloomFilter
from sensorium.documents.document import paragraphs
from sensorium.documents.filter import DocumentFilter
from sensorium.sample import Sample, Text


class RepeatedParagraphs(DocumentFilter, name="repeated-paragraphs"):
    """Cuts paragraphs that the document has had already or that an earlier document has, and drops documents most of
    whose paragraphs are such: cookie notices, invitations to subscribe, mirrored pages. Case, punctuation and spaces
    do not count.

    OBELICS (2306.16527, section 3.3) takes repeated paragraphs out of the pages of a domain. MINT-1T (2406.11271,
    section 3.3) looks them up in a Bloom filter with 1 % of false positives, by runs of 13 words, and drops documents
    of which 80 % were seen; here paragraphs are looked up whole. The first occurrence stays.
    """

    class Config(DocumentFilter.Config):
        across: bool = Field(default=True, description="whether earlier documents count, too")
        most: float = Field(default=0.8, gt=0, le=1, description="above this share of repeated paragraphs all goes")
        capacity: int = Field(
            default=10_000_000, ge=1, description="paragraphs for which the rate of false positives holds"
        )
        false_positives: float = Field(default=0.01, gt=0, lt=1, description="share of new paragraphs lost by mistake")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.seen = BloomFilter(config.capacity if config.across else 1, config.false_positives)

    def cuts(self, document: Sample) -> dict[int, str]:
        here: set[str] = set()
        found = {}
        for place, one in enumerate(document.segments):
            if not isinstance(one, Text):
                continue
            text = normal(one.text)
            if text in here:
                found[place] = "repeated in the document"
            elif self.config.across and text in self.seen:
                found[place] = "an earlier document has it"
            here.add(text)
        return found

    def objection(self, document: Sample) -> str | None:
        texts = sum(isinstance(one, Text) for one in document.segments)
        share = len(self.cuts(document)) / max(1, texts)
        return f"{share:.0%} of its paragraphs are repeated" if share > self.config.most else None

    def remember(self, document: Sample) -> None:
        if self.config.across:
            for text in paragraphs(document):
                self.seen.add(normal(text))
