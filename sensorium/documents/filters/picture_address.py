"""Pictures whose address says that they are furniture of the site go."""

from __future__ import annotations

import re

from pydantic import Field

from sensorium.documents.document import figure_of
from sensorium.documents.filter import DocumentFilter
from sensorium.sample import Image, Sample

WORDS = ("avatar", "badge", "banner", "button", "emoji", "favicon", "icon", "logo", "pixel", "placeholder", "plugin",
         "porn", "spacer", "spinner", "sprite", "thumb", "tracking", "widget", "xxx")  # fmt: skip


class PictureAddress(DocumentFilter, name="picture-address"):
    """Cuts pictures with certain words in their address, so that no picture need be opened: "logo", "button", "icon",
    "plugin" and "widget" as OBELICS (2306.16527, appendix A.1), "avatar", "porn" and "xxx" as MINT-1T (2406.11271,
    section 3.1), and more of the kind.

    Whole words are meant, in the singular or plural, parted by anything but letters or by a capital: "site-logo2.png"
    and "siteLogo.png" go, "silicon.png" and "sitelogo.png" stay.
    """

    class Config(DocumentFilter.Config):
        words: tuple[str, ...] = Field(default=WORDS, description="in small letters")

    config: Config

    def cuts(self, document: Sample) -> dict[int, str]:
        found = {}
        for place, one in enumerate(document.segments):
            if isinstance(one, Image) and (word := self._word(figure_of(document, one).address)):
                found[place] = f"'{word}' in its address"
        return found

    def _word(self, address: str) -> str | None:
        parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", address)
        found = set(re.findall(r"[a-z]+", parted.lower()))
        return next((word for word in self.config.words if {word, f"{word}s"} & found), None)
