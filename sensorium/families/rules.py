"""What tensors are called elsewhere and with us, in both directions, and which are left out and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sensorium.config import nearest
from sensorium.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """Their key and ours (`PART.name`). `{}` stands for any text, the same on both sides, in the same order."""

    theirs: str
    ours: str
    place: tuple[int, int] = (0, 1)
    """(i, n): their tensor is the i-th of n that ours stacks along the first dimension"""
    lead: int = 0
    """how many dimensions of 1 ours has before theirs; below 0, theirs before ours"""
    turned: bool = False
    """their matrix is ours transposed"""
    blank: tuple[int, ...] = ()
    """the other places of the stack that no tensor of theirs fills, which are zeros"""

    def to_ours(self, value: Tensor) -> Tensor:
        if self.turned:
            return value.transpose(0, -1)
        return value.reshape((1,) * self.lead + tuple(value.shape[max(0, -self.lead) :]))

    def to_theirs(self, value: Tensor) -> Tensor:
        if self.turned:
            return value.transpose(0, -1).contiguous()
        return value.reshape((1,) * -self.lead + tuple(value.shape[max(0, self.lead) :]))


@dataclass(frozen=True)
class Packed:
    """Their key, whose tensor holds several of ours, and what takes it apart, in the order of our names. It is told
    file and key for its errors."""

    theirs: str
    ours: tuple[str, ...]
    unpack: Callable[[Tensor, str], Sequence[Tensor]]


@dataclass(frozen=True)
class Left:
    """Keys that are not loaded, and why."""

    theirs: str
    why: str


DERIVED = (
    Left("{}rotary_emb.inv_freq", "computed from the config"),
    Left("{}position_ids", "computed from the config"),
)
"""What older versions of `transformers` stored beside the weights."""


@dataclass(frozen=True)
class Sorted:
    """A checkpoint under our names, every key accounted for."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """by our name"""
    loaded: dict[str, str] = field(default_factory=dict)
    """their key to our name, or to several with commas between them"""
    left: dict[str, str] = field(default_factory=dict)
    """their key to the reason"""


@dataclass(frozen=True)
class Table:
    """The rules of a family, of which the first that fits holds, and the keys it leaves out."""

    rules: tuple[Rule, ...]
    left: tuple[Left, ...] = DERIVED
    packed: tuple[Packed, ...] = ()
    """read and not written"""

    def sort(self, state: Mapping[str, Tensor], where: str) -> Sorted:
        """The tensors of `state` under our names. A key that no rule knows is a `ConfigError`."""
        done, stacked = Sorted(), {}
        for key, value in state.items():
            if why := next((left.why for left in self.left if _fits(left.theirs, key) is not None), ""):
                done.left[key] = why
                continue
            if self._unpacked(key, value, where, done):
                continue
            rule, name = self._ours(key, where)
            done.loaded[key] = name
            value = rule.to_ours(value)
            if rule.place == (0, 1):
                if name in done.tensors:
                    raise ConfigError(f"{where}: two tensors are our '{name}', the second is '{key}'")
                done.tensors[name] = value
            else:
                members = stacked.setdefault((name, rule.place[1]), {})
                members |= {place: torch.zeros_like(value) for place in rule.blank} | {rule.place[0]: value}
        for (name, count), members in stacked.items():
            if len(members) < count:
                raise ConfigError(f"{where}: our '{name}' stacks {count} tensors and there are only {len(members)}")
            done.tensors[name] = torch.cat([members[i] for i in range(count)])
        return done

    def unsort(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse: tensors by `PART.name` under their keys. One that no rule knows is a `ConfigError`."""
        found: dict[str, Tensor] = {}
        for name, value in tensors.items():
            rules = [(rule, fit) for rule in self.rules if (fit := _fits(rule.ours, name)) is not None]
            if not rules:
                raise ConfigError(f"'{name}' has no place in the other layout")
            count = rules[0][0].place[1]
            chunks = dict(enumerate(part.contiguous() for part in (value.chunk(count) if count > 1 else (value,))))
            for rule, fit in rules:
                if rule.place[1] == count and rule.place[0] in chunks:
                    found[rule.theirs.format(*fit)] = rule.to_theirs(chunks.pop(rule.place[0]))
        return found

    def _unpacked(self, key: str, value: Tensor, where: str, done: Sorted) -> bool:
        """Whether a tensor holds several of ours, which are then done."""
        for packed in self.packed:
            if (fit := _fits(packed.theirs, key)) is not None:
                names = [ours.format(*fit) for ours in packed.ours]
                done.tensors.update(zip(names, packed.unpack(value, f"{where}: '{key}'"), strict=True))
                done.loaded[key] = ", ".join(names)
                return True
        return False

    def _ours(self, key: str, where: str) -> tuple[Rule, str]:
        for rule in self.rules:
            if (fit := _fits(rule.theirs, key)) is not None:
                return rule, rule.ours.format(*fit)
        known = [rule.theirs.replace("{}", "*") for rule in self.rules]
        raise ConfigError(f"{where}: unknown key '{key}': {nearest(key, known)}")


def prefixes(pairs: Mapping[str, str]) -> tuple[Rule, ...]:
    """Rules for all that begins with their prefixes and, with us, with ours."""
    return tuple(Rule(theirs + "{}", ours + "{}") for theirs, ours in pairs.items())


def fixed(names: Iterable[str], why: str) -> tuple[Left, ...]:
    """The same reason for several keys."""
    return tuple(Left(name, why) for name in names)


def _fits(pattern: str, key: str) -> tuple[str, ...] | None:
    match = re.fullmatch("(.*?)".join(re.escape(piece) for piece in pattern.split("{}")), key)
    return match.groups() if match else None
