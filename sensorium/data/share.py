"""A source's part in a mixture."""

from __future__ import annotations

import math

from pydantic import Field

from sensorium.config import Config
from sensorium.data.source import Source


class Share(Config):
    """A source, its weight, and how much of it is used."""

    source: Source.Config
    weight: float = Field(default=1.0, gt=0, description="share in the mixture, whatever the source's size")
    loss_weight: float = Field(
        default=1.0, gt=0, description="factor of its mean loss where the stage balances rows (M2-omni, 2502.18778)"
    )
    limit: int | None = Field(default=None, ge=1, description="samples drawn from it in the stage, at most")
    repeats: float | None = Field(default=None, gt=0, description="times that it is gone through, at most")

    def most(self, length: int) -> int | None:
        """The draws that `limit` and `repeats` allow of a source of `length`; None if they set no bound."""
        bounds = [self.limit] if self.limit is not None else []
        bounds += [math.ceil(self.repeats * length)] if self.repeats is not None else []
        return min(bounds, default=None)
