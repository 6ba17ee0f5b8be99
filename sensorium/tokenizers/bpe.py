"""A small byte-level BPE trained on what the model will read, for models from nothing."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from sensorium.data.source import Source
from sensorium.data.tables import text_of
from sensorium.sample import Table, Text
from sensorium.tokenizers.tokenizer import FILE, Tokenizer

PAD, IMAGE = "<|pad|>", "<|image|>"
SPECIALS = (PAD, IMAGE, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


class BPE(Tokenizer, name="bpe"):
    """Byte-level, so every text has an encoding; a segment starts with a space, so that a word has one id wherever it
    stands. Training is deterministic."""

    class Config(Tokenizer.Config):
        vocab_size: int = Field(
            default=512, ge=256 + len(SPECIALS), description="at most this many tokens, bytes included"
        )
        corpus: tuple[Source.Config, ...] = Field(default=(), description="sources whose text it is trained on")
        samples: int = Field(default=2_000, ge=1, description="samples read from each source for training")
        special: tuple[str, ...] = Field(
            default=(), description="marks that are one token each where a template or an assembly writes them"
        )

    @classmethod
    def create(cls, config: Config) -> BPE:
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        rust.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=config.vocab_size,
            special_tokens=[AddedToken(token, special=True) for token in (*SPECIALS, *config.special)],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        rust.train_from_iterator(_texts(config), trainer)
        return cls(rust, PAD)

    @classmethod
    def read(cls, config: Config, folder: Path) -> BPE:
        return cls(RustTokenizer.from_file(str(folder / FILE)), PAD)

    def decode(self, ids: list[int]) -> str:
        return super().decode(ids).removeprefix(" ")


def _texts(config: BPE.Config):
    for source_config in config.corpus:
        source = source_config.build()
        for index in range(min(config.samples, len(source))):
            yield from (text_of(s) for s in source[index].segments if isinstance(s, Text | Table))
