"""Adapters on a model between stages: attached before one, merged before another."""

from __future__ import annotations

from collections.abc import Iterator

from sensorium.adapters.adapters import Adapters
from sensorium.adapters.lora import LoRA
from sensorium.data.batch import Batch
from sensorium.edits.edit import Edit, Stages
from sensorium.errors import ConfigError
from sensorium.model import Model


class AttachAdapters(Edit, name="attach-adapters"):
    """Gives the backbone new adapters. At once after it the function is unchanged. What was attached before has to be
    merged first."""

    class Config(Edit.Config):
        adapters: Adapters.Config = LoRA.Config()

    config: Config

    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        if (there := model.config.adapters.type_name) != "none":
            raise ConfigError(f"the edit 'attach-adapters': the model has adapters '{there}'; merge them first")
        model.adapt(self.config.adapters)


class MergeAdapters(Edit, name="merge-adapters"):
    """Folds the adapters into the backbone's weights, W + alpha / rank * B A. The function is unchanged, up to
    rounding."""

    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        model.adapters.merge(model.backbone)
        model.adapt(Adapters.Config.model_validate("none"))
