"""The tokenizer of a pre-trained model: a tokenizer.json, or the vocabulary inside a GGUF file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from tokenizers import Tokenizer as RustTokenizer

from sensorium.assets import find_file, has_file, need
from sensorium.errors import ConfigError
from sensorium.tokenizers.tokenizer import FILE, Tokenizer, parsed

PADS = ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>", "</s>")


class HFTokenizer(Tokenizer, name="hf"):
    """Read once when a model is made; afterwards the checkpoint's own tokenizer.json is all that is needed."""

    class Config(Tokenizer.Config):
        path: str = Field(description="a folder with tokenizer.json, a GGUF file, or package:NAME with either")
        vocab_size: int | None = Field(
            default=None, ge=1, description="tokens that it has, for checks where its folder is not at hand"
        )
        pad_token: str = Field(default="", description="stands where a picture or nothing stands; chosen if empty")

        @classmethod
        def example(cls) -> None:
            return None

        def resolved(self) -> Self:
            if self.pad_token:
                return self
            rust, declared = _load(self.path)
            known = [token for token in (declared, *PADS) if token and rust.token_to_id(token) is not None]
            if not known:
                raise ConfigError(f"{self.path}: the vocabulary has none of {', '.join(PADS)}; set pad_token")
            return self.model_copy(update={"pad_token": known[0]})

    @classmethod
    def create(cls, config: Config) -> HFTokenizer:
        config = config.resolved()
        return cls(_load(config.path)[0], config.pad_token)

    @classmethod
    def read(cls, config: Config, folder: Path) -> HFTokenizer:
        return cls(parsed((folder / FILE).read_text(encoding="utf-8")), config.pad_token)


@lru_cache(maxsize=2)
def _load(path: str) -> tuple[RustTokenizer, str]:
    """The tokenizer and the pad token it declares, if that is not also a token that ends a turn."""
    if path.endswith(".gguf") or has_file(path, ".gguf"):
        return _from_gguf(find_file(path, ".gguf")), ""
    file = find_file(path, FILE)
    settings = file.with_name("tokenizer_config.json")
    declared = json.loads(settings.read_text()) if settings.is_file() else {}
    pad, end = (_content(declared.get(key)) for key in ("pad_token", "eos_token"))
    return RustTokenizer.from_file(str(file)), pad if pad != end else ""


def _content(token: Any) -> str:
    return token.get("content", "") if isinstance(token, dict) else token or ""


def _from_gguf(file: Path) -> RustTokenizer:
    need("transformers", "hf", "reading the tokenizer of a GGUF file")
    need("gguf", "hf", "reading the tokenizer of a GGUF file")
    from transformers import PreTrainedTokenizerFast  # AutoTokenizer reads the file twice more to find this class

    loaded: Any = PreTrainedTokenizerFast.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
    return RustTokenizer.from_str(loaded.backend_tokenizer.to_str())
