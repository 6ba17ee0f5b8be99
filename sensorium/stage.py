"""A stage: one stretch of a recipe's training, from its data to its length."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sensorium.config import Config, nearest
from sensorium.data.packing import Packing
from sensorium.data.share import Share
from sensorium.data.stream import Balance
from sensorium.data.tiling import Tiling
from sensorium.edits.edit import Edit
from sensorium.model import PARTS
from sensorium.objectives.objective import Objective
from sensorium.policies.policy import Policy


class Stage(Config):
    """One stretch of training: data, objective, what is trainable, optimiser, length."""

    name: str
    starts_from: str | None = Field(
        default=None, description="the earlier stage whose last model it goes on from; by default the one before"
    )
    data: tuple[Share, ...] = Field(min_length=1)
    tiling: Tiling.Config | None = Field(
        default=None, description="how pictures are cut in this stage, by default as the model cuts them"
    )
    objective: Objective.Config = Field(default_factory=lambda: Objective.Config.model_validate("next-token"))
    edits: tuple[Edit.Config, ...] = Field(
        default=(), description="rewrites of the model before the first step, in order"
    )
    trainable: tuple[
        Literal["encoder", "connector", "assembly", "fusion", "backbone", "head", "adapters", "prior", "painter"], ...
    ] = PARTS
    cache_features: bool | Path = Field(
        default=False,
        description="keep the features of a frozen encoder and of a frozen text tower, in the run's folder or in the "
        "one that is named",
    )
    steps: int = Field(ge=0, description="optimiser steps; of a stage without any, only the edits are done")
    lr: float = Field(default=3e-4, gt=0, description="peak learning rate")
    lr_of: dict[str, float] = Field(
        default={}, description="peak learning rate of single parts, for example {encoder: 1e-4}"
    )
    muon_lr: float | None = Field(
        default=None,
        gt=0,
        description="peak learning rate of Muon, which then trains the matrices of the fusion and of the layers of "
        "backbone, connector and painter, in a painter kernels of convolutions, too",
    )
    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_lr: float = Field(default=0.0, ge=0, le=1, description="last learning rate as a share of the peak")
    weight_decay: float = Field(default=0.05, ge=0, description="on matrices only")
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = Field(default=1.0, gt=0)
    length: int = Field(default=512, ge=8, description="tokens in a packed row")
    rows: int = Field(default=8, ge=1, description="packed rows in a step; rows x length is the token budget")
    micro_rows: int | None = Field(default=None, ge=1, description="rows that are in memory at once; by default all")
    lanes: int = Field(
        default=1,
        ge=1,
        description="how many micro-batches may run side by side on a CPU, one core each; for small models",
    )
    buffer: int = Field(default=64, ge=1, description="samples that the packer looks ahead, for each row")
    packing: Packing = Field(
        default="fullest", description="how rows are filled; the decreasing ones pack a buffer of samples at a time"
    )
    tiles: int | None = Field(default=None, ge=1, description="tiles of pictures in a row, at most")
    isolated: bool = Field(
        default=True, description="samples of a row cannot see each other; false as Open-Qwen2VL packs (2504.00595)"
    )
    balance: Balance = Field(
        default="samples",
        description="what weights are shares of; with rows, each source has as many rows of every step as the others, "
        "and the loss is the sum of the sources' mean losses by their loss_weight",
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="weights are multiplied by size^(1/temperature) of their sources; by default by nothing",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 where hardware has it"
    )

    policy: Policy.Config | None = Field(default=None, description="how weights follow what has been learned")

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        if self.balance != "rows":
            if uneven := [number for number, share in enumerate(self.data) if share.loss_weight != 1]:
                raise ValueError(f"data.{uneven[0]}.loss_weight is for balance=rows; set that, or use weight")
        elif self.rows % len(self.data) or self.rows // len(self.data) % (self.micro_rows or self.rows):
            raise ValueError(
                f"balance=rows needs as many rows of each of {len(self.data)} sources, and micro-batches of one "
                f"source: rows is {self.rows}, micro_rows {self.micro_rows}; change one"
            )
        if self.policy is not None:
            self.policy.check(len(self.data))
            if self.balance == "rows":
                raise ValueError("a policy weighs samples or tokens; set balance to one of them, or policy to null")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rows % (self.micro_rows or self.rows):
            raise ValueError(f"rows {self.rows} is not a multiple of micro_rows {self.micro_rows}")
        if self.lanes > 1 and self.cache_features:
            raise ValueError("cache_features is for one lane; set lanes to 1")
        if wrong := [name for name in self.lr_of if name not in PARTS]:
            raise ValueError(f"lr_of names '{wrong[0]}': {nearest(wrong[0], PARTS)}")
        if self.cache_features and "encoder" in self.trainable:
            raise ValueError("cache_features needs a frozen encoder: take encoder out of trainable")
        return self

    def needs(self) -> set[str]:
        """The names of stages whose last models this one reads."""
        starts = {self.starts_from} if self.starts_from else set()
        return starts.union(*(edit.needs() for edit in self.edits))

    @property
    def tokens_per_step(self) -> int:
        return self.rows * self.length
