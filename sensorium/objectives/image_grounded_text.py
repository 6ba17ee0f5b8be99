"""The next word of a text, given what queries found in its picture (BLIP-2's ITG, arXiv 2301.12597, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.connectors.q_former_layer import Memory
from sensorium.data.batch import Batch
from sensorium.objectives.objective import Loss, Objective, precise
from sensorium.objectives.paired import PairedConfig, paired, texts


class ImageGroundedText(Objective, name="image-grounded-text"):
    """Cross-entropy with smoothed labels. Words see the queries and the words before them; queries see no text, so
    what they look for is all that the text is written from. The language model takes no part."""

    needs_pictures, partial = True, True
    reads_logits, reads_text = False, True

    class Config(PairedConfig):
        smoothing: float = Field(default=0.1, ge=0, lt=1, description="share of a label that is spread over all")

    config: Config

    def count(self, batch: Batch) -> int:
        """Predicted tokens."""
        return int((texts(batch, self.config.longest) >= 0).sum())

    def __call__(self, model: Any, batch: Batch) -> Loss:
        found = paired(model, batch, self.config.longest)
        return self.written(model, model.connector.look(found.features).memory, found.ids)

    def written(self, model: Any, memory: list[Memory], ids: Tensor) -> Loss:
        """The loss of texts int64 `[pairs, tokens]`, given the `memory` of queries that looked at their pictures."""
        connector, real = model.connector, ids >= 0
        logits = precise(connector.words.logits(connector.write(memory, ids)[real]))
        total = F.cross_entropy(logits, ids[real], reduction="sum", label_smoothing=self.config.smoothing)
        return Loss(total, len(logits))
