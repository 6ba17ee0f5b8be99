"""The average of models that were trained apart (model soups, arXiv 2203.05482; Bunny's released models)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from pydantic import Field, model_validator

from sensorium.data.batch import Batch
from sensorium.edits.edit import Edit, Stages
from sensorium.errors import ConfigError
from sensorium.model import Model


class Average(Edit, name="average"):
    """Every weight becomes the weighted mean of this model's and those of other stages' last models; this one's share
    is what theirs leave of 1. Adapters have to be merged before, on all sides. It keeps nothing equal."""

    class Config(Edit.Config):
        shares: dict[str, float] = Field(min_length=1, description="shares of stages of this run, by name")

        @model_validator(mode="after")
        def _shares(self) -> Self:
            if not all(share > 0 for share in self.shares.values()) or sum(self.shares.values()) >= 1:
                raise ValueError(f"shares are {self.shares}; give each more than 0, and together less than 1")
            return self

        def needs(self) -> tuple[str, ...]:
            return tuple(self.shares)

    config: Config

    @torch.no_grad()
    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        own = 1 - sum(self.config.shares.values())
        total = {name: weight * own for name, weight in model.named_parameters()}
        for stage, share in self.config.shares.items():
            other = stages(stage)
            if other.config != model.config:
                raise ConfigError(
                    f"the edit 'average': the model of stage '{stage}' has another config; merge adapters"
                )
            for name, weight in other.named_parameters():
                total[name] += share * weight.to(model.device)
        for name, weight in model.named_parameters():
            weight.copy_(total[name])
