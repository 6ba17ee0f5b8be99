"""Base of the sources that change the samples of another source, one by one."""

from __future__ import annotations

from typing import Any

from sensorium.data.source import Source


class Derived(Source):
    """As many samples as `source` has, unless a member says otherwise."""

    class Config(Source.Config):
        source: Source.Config

        def fingerprint(self) -> str | None:
            return self.source.fingerprint()

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.source: Source = config.source.build()

    def __len__(self) -> int:
        return len(self.source)
