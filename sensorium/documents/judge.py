"""Your own judgement of pictures and texts: the place for classifiers of what is unsafe, private or not wanted."""

from __future__ import annotations

from typing import Any

import PIL.Image
from pydantic import Field

from sensorium.data.images import open_picture
from sensorium.documents.document import figure_of, name_of
from sensorium.documents.filter import DocumentFilter
from sensorium.errors import DataError
from sensorium.sample import Image, Sample, Text


class Judge(DocumentFilter):
    """Base of filters that look at each picture or text. Give `picture` or `text` or both; what they return is the
    reason to take it out, None keeps it.

    MINT-1T (2406.11271, section 3.3) drops a document of which one picture is unsafe, as OBELICS does (2306.16527,
    section 3.3); so does this, unless `whole` is false.
    """

    class Config(DocumentFilter.Config):
        whole: bool = Field(default=True, description="one bad picture or text drops the document")

    config: Any

    def picture(self, picture: PIL.Image.Image, address: str, alt: str) -> str | None:
        """Why an RGB picture goes; `address` and `alt` are what the page says of it."""
        return None

    def text(self, text: str) -> str | None:
        """Why a paragraph goes."""
        return None

    def cuts(self, document: Sample) -> dict[int, str]:
        return {} if self.config.whole else self._verdicts(document)

    def objection(self, document: Sample) -> str | None:
        if not self.config.whole:
            return None
        return next((reason for reason in self._verdicts(document).values()), None)

    def _verdicts(self, document: Sample) -> dict[int, str]:
        found = {}
        for place, one in enumerate(document.segments):
            reason = None
            if isinstance(one, Text):
                reason = self.text(one.text)
            elif isinstance(one, Image):
                reason = self._picture(document, one)
            if reason is not None:
                found[place] = reason
        return found

    def _picture(self, document: Sample, image: Image) -> str | None:
        figure = figure_of(document, image)
        try:
            return self.picture(open_picture(image.source, name_of(document, image)), figure.address, figure.alt)
        except DataError as error:
            return f"cannot be read: {error}"
