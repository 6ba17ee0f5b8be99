"""What the data say of themselves: scores of a judge or of an earlier filter, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from sensorium.curation.step import Kind, Scorer, Value
from sensorium.data.records import look_up
from sensorium.errors import DataError
from sensorium.sample import Sample


class Recorded(Scorer, name="recorded"):
    """Fields of `Sample.meta`, `record.clip_score` for example for the field `clip_score` of a record."""

    class Config(Scorer.Config):
        numbers: tuple[str, ...] = ()
        texts: tuple[str, ...] = Field(default=(), description="lists become texts with commas")

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not self.numbers + self.texts:
                raise ValueError("name at least one field in numbers or texts")
            return self

        @classmethod
        def example(cls) -> Self:
            return cls(numbers=("record.score",))

        @property
        def columns(self) -> dict[str, Kind]:
            return {**dict.fromkeys(self.numbers, "number"), **dict.fromkeys(self.texts, "text")}

    config: Config

    def read(self, sample: Sample) -> tuple[Value, ...]:
        numbers = [_number(look_up(sample.meta, field), field, sample.name) for field in self.config.numbers]
        return (*numbers, *(_text(look_up(sample.meta, field), field, sample.name) for field in self.config.texts))

    def score(self, items: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
        return list(items)


def _number(value: object, field: str, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{name}: '{field}' is {value!r}, not a number; correct it, or name another field") from None


def _text(value: object, field: str, name: str) -> str:
    if value is None:
        raise DataError(f"{name}: has no '{field}'; add it, or name another field")
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
