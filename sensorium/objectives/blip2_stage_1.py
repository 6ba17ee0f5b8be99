"""The first stage of BLIP-2 (arXiv 2301.12597, section 3.2): three objectives at once, of equal weight."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.objectives.image_grounded_text import ImageGroundedText
from sensorium.objectives.image_text_contrastive import ImageTextContrastive
from sensorium.objectives.image_text_matching import ImageTextMatching
from sensorium.objectives.objective import Read, StepObjective
from sensorium.objectives.paired import PairedConfig, embedded, paired
from sensorium.objectives.ranks import row_counts, summed


class BLIP2Stage1(StepObjective, name="blip2-stage-1"):
    """The sum of the means of `image-text-contrastive` over pairs, of `image-text-matching` over questions and of
    `image-grounded-text` over tokens. What queries find alone is compared with texts, and its keys and values are what
    texts are written from, so that pictures are looked at once for both; negatives are drawn by the same likeness."""

    needs_pictures, partial = True, True
    reads_logits, reads_text = False, True

    class Config(PairedConfig):
        smoothing: float = Field(default=0.1, ge=0, lt=1, description="share of a label that is spread over all")
        same_texts: bool = Field(default=False, description="a pair's equals, by their texts, are no negatives of it")
        chunk: int = Field(default=256, ge=1, description="questions whose activations are held at once")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        longest, smoothing, same = config.longest, config.smoothing, config.same_texts
        self.contrastive = ImageTextContrastive.Config(longest=longest, smoothing=smoothing, same_texts=same).build()
        self.matching = ImageTextMatching.Config(longest=longest, same_texts=same, chunk=config.chunk).build()
        self.grounded = ImageGroundedText.Config(longest=longest, smoothing=smoothing).build()

    def count(self, batch: Batch) -> int:
        """Predicted tokens."""
        return self.grounded.count(batch)

    def read(self, model: Any, batch: Batch) -> Read:
        features, ids, keys = paired(model, batch, self.config.longest)
        looked = model.connector.look(features)
        written = self.grounded.written(model, looked.memory, ids)
        return Read((*embedded(model, looked, ids), keys, features, ids), written.total)

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        total = self.contrastive.compare(model, compared[:3], count) + self.matching.compare(model, compared, count)
        pairs, tokens = sum(row_counts(compared[0])), summed(count, total.device)
        return total * (tokens / max(1, pairs))
