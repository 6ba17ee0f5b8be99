"""Pictures that are too small, too large, too narrow or not to be read go."""

from __future__ import annotations

from pydantic import Field

from sensorium.data.images import picture_size
from sensorium.documents.document import name_of
from sensorium.documents.filter import DocumentFilter
from sensorium.errors import DataError
from sensorium.sample import Image, Sample


class PictureSize(DocumentFilter, name="picture-size"):
    """Cuts pictures by their width and height in pixels, read from the header: icons, buttons, lines and banners.
    150 to 20,000 pixels and an aspect of 2 are OBELICS's (2306.16527, section 3.3); the aspect of 3 in PDFs is
    MINT-1T's (2406.11271, section 3.3)."""

    class Config(DocumentFilter.Config):
        min_side: int = Field(default=150, ge=1)
        max_side: int = Field(default=20_000, ge=1)
        max_aspect: float = Field(default=2.0, ge=1, description="longer side over shorter side")
        max_aspect_pdf: float = Field(default=3.0, ge=1, description="the same in PDFs, where figures are wide")

    config: Config

    def cuts(self, document: Sample) -> dict[int, str]:
        most = self.config.max_aspect_pdf if document.meta.get("kind") == "pdf" else self.config.max_aspect
        found = {}
        for place, one in enumerate(document.segments):
            if isinstance(one, Image) and (fault := self._fault(one, name_of(document, one), most)):
                found[place] = fault
        return found

    def _fault(self, image: Image, name: str, max_aspect: float) -> str | None:
        try:
            width, height = picture_size(image.source, name)
        except DataError as error:
            return f"cannot be read: {error}"
        least, most = self.config.min_side, self.config.max_side
        if not (least <= width <= most and least <= height <= most):
            return f"{width} x {height} pixels, not {least} to {most} a side"
        aspect = max(width, height) / min(width, height)
        return f"{width} x {height} pixels, an aspect above {max_aspect:g}" if aspect > max_aspect else None
