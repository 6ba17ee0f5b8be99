"""The text tokenizer contract."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from sensorium.config import Part, PartConfig

FILE = "tokenizer.json"


class Tokenizer(Part, family="tokenizer", package="sensorium.tokenizers"):
    """Text to ids and back. Markers of the chat template are looked up as special tokens; the same characters in a
    user's text are plain text, so that nobody can speak for the assistant by typing its marker."""

    class Config(PartConfig):
        pass

    def __init__(self, rust: RustTokenizer, pad_token: str) -> None:
        rust.no_padding()  # sentence encoders are published with both, to a length of their own
        rust.no_truncation()
        self.rust, self.pad_token = rust, pad_token
        self.plain = RustTokenizer.from_str(rust.to_str())
        self.plain.encode_special_tokens = True
        self.pad_id = self.id_of(pad_token)
        self.encode = lru_cache(maxsize=65_536)(self._encode)
        self.markers = lru_cache(maxsize=1_024)(self._markers)

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

    @property
    def vocab_size(self) -> int:
        return self.rust.get_vocab_size()

    def id_of(self, token: str) -> int:
        """The id of a special token; a `ValueError` if the vocabulary has none."""
        found = self.rust.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token!r}")
        return found

    def _encode(self, text: str) -> tuple[int, ...]:
        """Plain text to ids."""
        return tuple(self.plain.encode(text, add_special_tokens=False).ids)

    def _markers(self, text: str) -> tuple[int, ...]:
        """Template text to ids, special tokens recognised."""
        return tuple(self.rust.encode(text, add_special_tokens=False).ids) if text else ()

    def decode(self, ids: list[int]) -> str:
        """Ids to text, special tokens left out."""
        return self.rust.decode(ids, skip_special_tokens=True)


def _again(kind: type[Tokenizer], rust: str, pad_token: str) -> Tokenizer:
    return kind(RustTokenizer.from_str(rust), pad_token)
