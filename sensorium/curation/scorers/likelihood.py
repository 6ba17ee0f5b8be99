"""How well a model that was trained foretells a caption, with the picture and without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from sensorium.curation.models import load_frozen, weights_digest
from sensorium.curation.pairs import caption_of, decoded
from sensorium.curation.step import Kind, Scorer
from sensorium.generation.likelihood import likelihoods
from sensorium.laid_out import LaidOut
from sensorium.sample import Sample


class Likelihood(Scorer, name="likelihood"):
    """`seeing`: the mean log-likelihood, in nats a token, of what is supervised. `blind`: the same with all pictures
    withheld. `gain`: their difference, the pointwise mutual information of text and picture for each token; a caption
    of another picture gains nothing, or loses.

    Without pictures, a model that was never trained so guesses badly; a text-only `twin` of it guesses better.
    """

    class Config(Scorer.Config):
        checkpoint: Path = Field(description="a run or a model")
        twin: Path | None = Field(default=None, description="the text-only twin, which scores the text without picture")

        @property
        def columns(self) -> dict[str, Kind]:
            return {"seeing": "number", "blind": "number", "gain": "number"}

        def behind(self) -> str:
            return "/".join(weights_digest(folder) for folder in (self.checkpoint, self.twin) if folder)

    config: Config

    def __init__(self, config: Config, fitted: Path) -> None:
        super().__init__(config, fitted)
        self.model = load_frozen(config.checkpoint)
        self.twin = load_frozen(config.twin) if config.twin else self.model

    def read(self, sample: Sample) -> tuple[LaidOut, LaidOut]:
        """A `DataError`, besides, for a sample that does not fit the model's context."""
        caption_of(sample)
        sample = decoded(sample)
        return self.model.layout(sample), self.twin.layout(sample.blind())

    def score(self, items: Sequence[tuple[LaidOut, LaidOut]]) -> list[tuple[float, float, float]]:
        totals, counts = likelihoods(self.model, [seen for seen, _ in items])
        blind_totals, blind_counts = likelihoods(self.twin, [unseen for _, unseen in items])
        pairs = zip((totals / counts).tolist(), (blind_totals / blind_counts).tolist(), strict=True)
        return [(seeing, blind, seeing - blind) for seeing, blind in pairs]
