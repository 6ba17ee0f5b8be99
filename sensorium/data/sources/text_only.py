"""The text of another source: what a language model is given to read before it sees anything."""

from __future__ import annotations

from pydantic import Field

from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Sample


class TextOnly(Source, name="text-only"):
    """The samples of another source with all but text and tables withheld."""

    class Config(Source.Config):
        source: Source.Config = Field(description="samples with text")

        def fingerprint(self) -> str | None:
            return self.source.fingerprint()

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.source: Source = config.source.build()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index].blind()
        if not sample.segments:
            raise DataError(f"{sample.name}: has no text")
        return sample
