"""To write a text and to tell it from others, in one pass (CoCa, arXiv 2205.01917; CosMo, arXiv 2401.00849)."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from sensorium.data.batch import Batch
from sensorium.objectives.contrastive import Contrastive, pairs
from sensorium.objectives.next_token import NextToken
from sensorium.objectives.objective import Read, StepObjective
from sensorium.objectives.ranks import row_counts, summed


class CaptioningContrastive(StepObjective, name="captioning-contrastive"):
    """The mean next-token loss over the supervised tokens of a step, plus `weight` times the mean contrastive loss over
    its pairs (CosMo, equation 4). Samples without pictures take part in the former alone."""

    compares = True

    class Config(StepObjective.Config):
        next_token: NextToken.Config = NextToken.Config()
        contrastive: Contrastive.Config = Field(
            default=Contrastive.Config(same_texts=True),
            description="CosMo drops the term of a batch with equal texts; here equals are no negatives of each other",
        )
        weight: float = Field(default=1.0, ge=0, description="of the contrastive term")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.next_token, self.contrastive = config.next_token.build(), config.contrastive.build()

    @property
    def writing(self) -> NextToken:
        return self.next_token

    def count(self, batch: Batch) -> int:
        """Predicted tokens."""
        return self.next_token.count(batch)

    def read(self, model: Any, batch: Batch) -> Read:
        hidden, pictures, texts = model.embed_batch(batch)
        return Read(pairs(pictures, texts, batch), self.next_token.read(model.head, hidden, batch).total)

    def compare(self, model: Any, compared: tuple[Tensor, ...], count: int) -> Tensor:
        total = self.contrastive.compare(model, compared, count)
        every, terms = sum(row_counts(compared[0])), summed(count, total.device)
        return total * (self.config.weight * terms / max(1, every))
