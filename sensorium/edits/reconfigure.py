"""The same weights under another config: more tiles, more tokens, larger pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from sensorium.data.batch import Batch
from sensorium.edits.edit import Edit, Stages
from sensorium.errors import ConfigError
from sensorium.model import Model

REBUILT = ("encoder", "connector", "assembly")
"""Parts that are built anew; the others keep their config."""
KEPT = ("fusion", "backbone", "head", "adapters", "prior", "painter", "tokenizer")


class Reconfigure(Edit, name="reconfigure"):
    """Changes keys of the model's config between stages: `tiling=grid` for high resolution after base resolution
    (xGen-MM, arXiv 2408.08872, section 4), `connector.grid=[27,27]` for more tokens a picture (Open-Qwen2VL, arXiv
    2504.00595), `connector.text=false` for a Q-Former that has learned from texts. Encoder, connector and assembly are
    built anew and keep their weights, which must have the same shapes, or shapes to which the part can carry them over
    (`carried`: an encoder's position codes are interpolated, a Q-Former's text side is dropped); what is new starts as
    it does in a new model. It keeps equal what the config leaves equal."""

    class Config(Edit.Config):
        changes: tuple[str, ...] = Field(min_length=1, description="key=value of the model's config, values in YAML")

        @model_validator(mode="after")
        def _parts(self) -> Self:
            for change in self.changes:
                if change.split("=")[0].split(".")[0] in KEPT:
                    raise ValueError(f"'{change}' is of a part that keeps its config: {', '.join(KEPT)}; change others")
            return self

    config: Config

    def __call__(self, model: Model, batches: Iterator[Batch], stages: Stages) -> None:
        config = model.config.override(*self.config.changes)
        changed = Model(config, model.tokenizer)
        for name in REBUILT:
            old, new = getattr(model, name), getattr(changed, name)
            state = old.state_dict() if name == "assembly" else new.carried(old.state_dict())
            own = new.state_dict()
            for key in own.keys() & state.keys():
                if own[key].shape != state[key].shape:
                    found, wanted = list(state[key].shape), list(own[key].shape)
                    raise ConfigError(
                        f"the edit 'reconfigure': {name}.{key} has shape {found}, the changes need {wanted}"
                    )
            if lost := sorted(state.keys() - own.keys()):
                raise ConfigError(f"the edit 'reconfigure': with the changes there is no place for {name}.{lost[0]}")
            new.load_state_dict(state, strict=False)
            setattr(model, name, new.to(model.device))
        model.config, model.layout = config, changed.layout
