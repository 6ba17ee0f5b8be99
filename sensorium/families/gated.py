"""Gated cross-attention as OpenFlamingo's code saves it, which InfiMM-HD's is made of: the blocks, and the language
model's layers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.families.rules import Left, Rule, prefixes
from sensorium.families.sizes import shape_of, whole

BLOCK, LAYER = ".gated_cross_attn_layer.", ".decoder_layer."
HEADS = 64
"""The width of a head, which no tensor tells."""
TWICE = "the same tensor under another name"


def stack(tensors: Mapping[str, Tensor], start: str, where: str) -> tuple[str, list[int]]:
    """How the keys of the language model's layers begin, and the numbers of those that have a block before them."""
    found = [key.removeprefix(start).partition(BLOCK)[0] for key in tensors if key.startswith(start) and BLOCK in key]
    names = {name.rpartition(".")[0] for name in found}
    if len(names) != 1 or not all(name.rpartition(".")[2].isdigit() for name in found):
        raise ConfigError(f"{where}: has no keys '{start}*.N{BLOCK}*' of one stack of layers; fetch the weights again")
    return f"{start}{names.pop()}.", sorted({int(name.rpartition(".")[2]) for name in found})


def gated(tensors: Mapping[str, Tensor], layers: str, numbers: list[int], where: str) -> dict[str, Any]:
    """The fusion whose blocks stand before the layers of these numbers."""
    every = numbers[0] + 1
    if numbers != list(range(every - 1, numbers[-1] + 1, every)):
        raise ConfigError(f"{where}: blocks stand before the layers {numbers}, which is not every n-th")
    block = f"{layers}{numbers[0]}{BLOCK}"
    query = f"{block}attn.to_q.weight"
    inner, width = shape_of(tensors, query, where)
    gate = shape_of(tensors, f"{block}attn_gate", where)
    return {
        "type": "cross-attention",
        "every": every,
        "num_heads": whole(inner, HEADS, query, where),
        "head_dim": HEADS,
        "ff_ratio": whole(shape_of(tensors, f"{block}ff.1.weight", where)[0], width, f"{block}ff.1.weight", where),
        "gates": "scalar" if gate == (1,) else "vector",
    }


def gated_rules(start: str, layers: str, numbers: list[int]) -> tuple[Rule, ...]:
    """The blocks' tensors and the language model's, whose keys begin with `start`, there and here."""
    rules = []
    for ours, number in enumerate(numbers):
        block, fused = f"{layers}{number}{BLOCK}", f"fusion.blocks.{ours}."
        names = {"attn.norm.": "norm.", "ff.": "feed_forward."} | {f"attn.{n}.": f"{n}." for n in PROJECTIONS}
        rules += prefixes({f"{block}{theirs}": f"{fused}{name}" for theirs, name in names.items()})
        rules += [Rule(f"{block}attn_gate", f"{fused}attention_gate"),
                  Rule(f"{block}ff_gate", f"{fused}feed_forward_gate")]  # fmt: skip
    inside = f"backbone.model.{layers.removeprefix(start)}"
    return (*rules, Rule(f"{layers}{{}}{LAYER}{{}}", f"{inside}{{}}.{{}}"), Rule(f"{start}{{}}", "backbone.model.{}"))


def again(start: str) -> tuple[Left, ...]:
    """What a language model is also kept as in the memory of their code."""
    return tuple(Left(f"{start}{name}.{{}}", TWICE) for name in ("old_decoder_blocks", "gated_cross_attn_layers"))


PROJECTIONS = ("to_q", "to_kv", "to_out")
