"""Documents with no picture or with very many go."""

from __future__ import annotations

from pydantic import Field

from sensorium.documents.filter import DocumentFilter
from sensorium.sample import Sample


class PictureCount(DocumentFilter, name="picture-count"):
    """Drops documents by the number of their pictures: 1 to 30, as OBELICS (2306.16527, section 3.3) and MINT-1T
    (2406.11271, section 3.1) have it."""

    class Config(DocumentFilter.Config):
        min_pictures: int = Field(default=1, ge=0)
        max_pictures: int = Field(default=30, ge=0)

    config: Config

    def objection(self, document: Sample) -> str | None:
        count, config = len(document.images), self.config
        if config.min_pictures <= count <= config.max_pictures:
            return None
        return f"{count} pictures, not {config.min_pictures} to {config.max_pictures}"
