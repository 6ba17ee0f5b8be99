"""The text of another source: what a language model is given to read before it sees anything."""

from __future__ import annotations

from sensorium.data.derived import Derived
from sensorium.errors import DataError
from sensorium.sample import Sample


class TextOnly(Derived, name="text-only"):
    """The samples of another source with all but text and tables withheld."""

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index].blind()
        if not sample.segments:
            raise DataError(f"{sample.name}: has no text")
        return sample
