"""The text tokenizer contract."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from sensorium.config import Part, PartConfig

FILE = "tokenizer.json"
SHORT = 100
"""Characters of a text whose ids are remembered: questions and short answers come again, longer texts hardly do."""
KEPT = 4_096
"""Texts that are remembered, a few MB in each process that reads."""


class Tokenizer(Part, family="tokenizer", package="sensorium.tokenizers"):
    """Text to ids and back. Markers of the chat template are looked up as special tokens; the same characters in a
    user's text are plain text, so that nobody can speak for the assistant by typing its marker."""

    class Config(PartConfig):
        specials: tuple[str, ...] = Field(
            default=(), description="marks of the template that the vocabulary lacks; they are appended, in this order"
        )

    def __init__(self, rust: RustTokenizer, pad_token: str) -> None:
        rust.no_padding()  # sentence encoders are published with both, to a length of their own
        rust.no_truncation()
        self.rust, self.pad_token = rust, pad_token
        self.plain = _plain(rust.to_str())
        self.pad_id = self.id_of(pad_token)
        self._known = lru_cache(KEPT)(self._ids)
        self.markers = lru_cache(KEPT)(self._markers)

    def __reduce__(self) -> Any:
        """Worker processes get what it is made of; the caches stay."""
        return _again, (type(self), self.rust.to_str(), self.pad_token)

    @classmethod
    @abstractmethod
    def create(cls, config: PartConfig) -> Tokenizer:
        """Make the tokenizer from nothing (train it, or read a pre-trained one)."""

    @classmethod
    @abstractmethod
    def read(cls, config: PartConfig, folder: Path) -> Tokenizer:
        """The tokenizer as `save` left it in a checkpoint folder."""

    def save(self, folder: Path) -> None:
        self.rust.save(str(folder / FILE))

    def with_specials(self, tokens: Iterable[str]) -> Self:
        """This tokenizer with special tokens appended, those that it lacks."""
        missing = [token for token in dict.fromkeys(tokens) if self.rust.token_to_id(token) is None]
        if not missing:
            return self
        longer = RustTokenizer.from_str(self.rust.to_str())
        longer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
        return type(self)(longer, self.pad_token)

    @property
    def vocab_size(self) -> int:
        return self.rust.get_vocab_size()

    def id_of(self, token: str) -> int:
        """The id of a special token; a `ValueError` if the vocabulary has none."""
        found = self.rust.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token!r}")
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """Plain text to ids."""
        return self._known(text) if len(text) <= SHORT else self._ids(text)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.plain.encode(text, add_special_tokens=False).ids)

    def _markers(self, text: str) -> tuple[int, ...]:
        """Template text to ids, special tokens recognised."""
        return tuple(self.rust.encode(text, add_special_tokens=False).ids) if text else ()

    def decode(self, ids: list[int]) -> str:
        """Ids to text, special tokens left out."""
        return self.rust.decode(ids, skip_special_tokens=True)


def _again(kind: type[Tokenizer], rust: str, pad_token: str) -> Tokenizer:
    return kind(RustTokenizer.from_str(rust), pad_token)


@lru_cache(maxsize=2)
def parsed(text: str) -> RustTokenizer:
    """What a tokenizer.json says: one object for all that say the same, which nobody changes."""
    return RustTokenizer.from_str(text)


@lru_cache(maxsize=2)
def _plain(text: str) -> RustTokenizer:
    """The same, and marks are taken for text."""
    plain = RustTokenizer.from_str(text)
    plain.encode_special_tokens = True
    return plain
