"""Pictures that are repeated go."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from sensorium.data.images import open_picture
from sensorium.documents.document import name_of
from sensorium.documents.filter import DocumentFilter
from sensorium.documents.likeness import LikenessIndex, Print, print_of
from sensorium.errors import DataError
from sensorium.sample import Image, Sample


class RepeatedPictures(DocumentFilter, name="repeated-pictures"):
    """Cuts the second and later copies of a picture in a document, and a picture that has been in `most` documents
    already, the same or nearly: scaled, recompressed, a little lighter. Pictures are the same whose pixels are, and
    nearly the same whose difference hashes of 128 bits differ in few: measured on 657 drawings and photographs, in at
    most 6 for 9 of 10 copies of two thirds of the size and JPEG quality 60, and for 12 of 215,496 pairs of others.

    OBELICS (2306.16527, section 3.3) and MINT-1T (2406.11271, section 3.3) do so with addresses and SHA-256 and take
    all copies of what occurs more than ten times; here, where documents come one by one, the first ten stay.
    """

    class Config(DocumentFilter.Config):
        most: int = Field(default=10, ge=1, description="documents that may have the same picture")
        distance: int | None = Field(
            default=6, ge=0, le=12, description="bits in which like pictures may differ; nothing asks for equal pixels"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.index = LikenessIndex(config.distance or 0)
        self.counts = Counter[Print]()

    def cuts(self, document: Sample) -> dict[int, str]:
        here = LikenessIndex(self.config.distance or 0)
        found = {}
        for place, one in enumerate(document.segments):
            if not isinstance(one, Image):
                continue
            try:
                mine = self._print(document, one)
            except DataError as error:
                found[place] = f"cannot be read: {error}"
                continue
            if here.find(mine) is not None:
                found[place] = "repeated in the document"
            elif (known := self.index.find(mine)) is not None and self.counts[known] >= self.config.most:
                found[place] = f"in {self.counts[known]} documents already"
            here.add(mine)
        return found

    def remember(self, document: Sample) -> None:
        for one in document.images:
            mine = self._print(document, one)
            known = self.index.find(mine)
            if known is None:
                self.index.add(mine)
            self.counts[known or mine] += 1

    def _print(self, document: Sample, image: Image) -> Print:
        found = print_of(open_picture(image.source, name_of(document, image)))
        return found.exactly() if self.config.distance is None else found
