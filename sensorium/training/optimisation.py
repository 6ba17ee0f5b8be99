"""What is trained, how fast, and in which precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from sensorium.model import PARTS, Model
from sensorium.recipe import Stage
from sensorium.training.lanes import Lanes
from sensorium.training.muon import Muon


def set_trainable(model: Model, stage: Stage) -> dict[str, bool]:
    """Freeze all but the stage's parts; returns the mask that goes into checkpoints. A weight that two parts share
    (a tied embedding) is trained if either part is."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name in stage.trainable:
        getattr(model, name).requires_grad_(True)
    for name in PARTS:
        part: nn.Module = getattr(model, name)
        part.train(any(p.requires_grad for p in part.parameters()))
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


class Together:
    """Several optimisers that step as one. A group's `peak` is its highest learning rate, which the schedule scales."""

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        self.members = members

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for member in self.members for group in member.param_groups]

    def step(self, lanes: Lanes | None = None) -> None:
        if lanes:
            lanes.map(lambda member: member.step(), self.members)
            return
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad(set_to_none=True)


def make_optimiser(model: Model, stage: Stage) -> Together:
    """AdamW with a group for each part and kind, weight decay on matrices only. With `muon_lr`, the matrices of the
    backbone's layers, of the fusion and of what connector and painter shard by (their layers, or all of a small one),
    in a painter kernels of convolutions, too, go to Muon, one for each shape."""
    within = (*model.backbone.layers, model.fusion, *model.connector.shard_units(), *model.painter.shard_units())
    kernels = {id(p) for p in model.painter.parameters() if p.ndim == 4}
    inner = {id(p) for module in within for p in module.parameters() if p.ndim == 2 or id(p) in kernels}
    groups, matrices, seen = [], [], set()
    for name in PARTS:
        parameters = [p for p in getattr(model, name).parameters() if p.requires_grad and id(p) not in seen]
        seen.update(map(id, parameters))
        if stage.muon_lr is not None:
            matrices += [p for p in parameters if id(p) in inner]
            parameters = [p for p in parameters if id(p) not in inner]
        peak = stage.lr_of.get(name, stage.lr)
        for decay, chosen in (
            (stage.weight_decay, [p for p in parameters if p.ndim >= 2]),
            (0.0, [p for p in parameters if p.ndim < 2]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "peak": peak, "lr": peak})
    members: list[torch.optim.Optimizer] = []
    if groups:
        members.append(torch.optim.AdamW(groups, betas=stage.betas, fused=True))
    if stage.muon_lr is not None:
        dtype = torch.bfloat16 if has_bfloat16(model.device) else torch.float32
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for matrix in matrices:
            by_shape.setdefault(tuple(sorted(matrix.flatten(1).shape)), []).append(matrix)
        for alike in by_shape.values():
            group = {"params": alike, "peak": stage.muon_lr}
            members.append(Muon([group], stage.muon_lr, stage.weight_decay, dtype=dtype))
    return Together(*members)


def lr_at(step: int, stage: Stage) -> float:
    """The learning rate of `step` (from 0) as a share of the peak: linear warm-up, then the stage's schedule."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return 1.0
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    shape = (1 + math.cos(math.pi * done)) / 2 if stage.schedule == "cosine" else 1 - done
    return stage.final_lr + (1 - stage.final_lr) * shape


BF16_WIDTH = 512
"""Backbone width from which bfloat16 pays on a CPU that has it (`docs/performance.md`): below, casts cost what the
products save."""


def precision(stage: Stage, device: torch.device, width: int = BF16_WIDTH) -> torch.dtype:
    """The dtype of matrix products. `auto` depends on the hardware and the backbone's width, never on a timing, so that
    the same machine always computes the same numbers."""
    if stage.precision != "auto":
        return getattr(torch, stage.precision)
    wide = device.type == "cuda" or width >= BF16_WIDTH
    return torch.bfloat16 if wide and has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
