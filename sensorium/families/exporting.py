"""`sensorium export`: a model of ours as a stock checkpoint of `transformers`, where it equals one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from sensorium.assets import need
from sensorium.atomic import write_folder
from sensorium.errors import ConfigError
from sensorium.families.family import Stock, StockFamily, families
from sensorium.model import PARTS, Model, ModelConfig
from sensorium.tokenizers.tokenizer import FILE, Tokenizer
from sensorium.training.checkpoint import load_model, part_tensors

EMBEDDINGS = ("backbone.model.model.embed_tokens.weight", "backbone.model.model.decoder.embed_tokens.weight")
OUTPUT = ("backbone.model.lm_head.weight", "backbone.model.lm_head.bias")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    family: str
    stock: str
    """the class of `transformers`"""
    tensors: dict[str, str]
    """their key to our `PART.key`"""
    added: tuple[str, ...]
    """tokens for which the embedding got rows of zeros, which generation never writes"""


def export(checkpoint: Path, out: Path) -> Exported:
    """Write the model in `checkpoint` so that `transformers` loads it. A `ConfigError` says which parts stand in the
    way."""
    return write_stock(load_model(checkpoint), out)


def write_stock(model: Model, out: Path) -> Exported:
    """The same of a model in memory."""
    need("transformers", "hf", "export")
    name, family = stock_family(model.config)
    stock = family.stock(model)
    tokenizer = model.tokenizer.with_specials(stock.tokens)
    tensors = {f"{part}.{key}": t for part in PARTS for key, t in part_tensors(model, part).items()}
    added = [token for token in stock.tokens if model.tokenizer.rust.token_to_id(token) is None]
    grown = _grow(tensors, tokenizer.vocab_size)
    table = family.table(model.config)
    named = table.unsort(tensors)
    ours = table.sort(named, "the export").loaded

    def fill(partial: Path) -> None:
        for file, held in {"config.json": stock.settings, **stock.files}.items():
            (partial / file).write_text(json.dumps(held, indent=2, ensure_ascii=False))
        _save_tokenizer(tokenizer, stock.around, partial)
        _write_weights(named, partial)

    if grown:
        _note_rows(stock, grown, [tokenizer.id_of(token) for token in added])
    write_folder(out, fill)
    return Exported(name, stock.settings["architectures"][0], ours, tuple(added))


def stock_family(config: ModelConfig) -> tuple[str, StockFamily]:
    """The family whose stock class a composition equals; a `ConfigError` says of each what stands in the way."""
    found: dict[str, list[str]] = {}
    for name, family in families().items():
        if not isinstance(family, StockFamily):
            continue
        if not (obstacles := family.obstacles(config)):
            return name, family
        found[name] = obstacles
    lines = [f"  {name}: {'; '.join(found[name])}" for name in sorted(found, key=lambda name: len(found[name]))]
    raise ConfigError("the composition equals no stock class of transformers:\n" + "\n".join(lines))


def _grow(tensors: dict[str, Tensor], rows: int) -> int:
    """Append rows of zeros to what embeds and predicts tokens, up to `rows`; the number of rows then, 0 if enough."""
    short = [name for name in (*EMBEDDINGS, *OUTPUT) if name in tensors and len(tensors[name]) < rows]
    for name in short:
        tensor = tensors[name]
        tensors[name] = torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])
    return rows if short else 0


def _note_rows(stock: Stock, rows: int, added: list[int]) -> None:
    """The new rows in the settings. Their logits are 0, so that generation has to be told never to write them."""
    stock.settings.get("text_config", stock.settings)["vocab_size"] = rows
    stock.files["generation_config.json"]["suppress_tokens"] = added


def _save_tokenizer(tokenizer: Tokenizer, around: tuple[str, str], folder: Path) -> None:
    tokenizer.save(folder)
    before, after = around
    if before or after:
        rust = RustTokenizer.from_file(str(folder / FILE))
        marks = [(token, tokenizer.id_of(token)) for token in (before, after) if token]
        single = [piece for piece in (before, "$A", after) if piece]
        rust.post_processor = TemplateProcessing(single=single, special_tokens=marks)
        rust.save(str(folder / FILE))


def _write_weights(tensors: dict[str, Tensor], folder: Path) -> None:
    from huggingface_hub import split_torch_state_dict_into_shards

    split = split_torch_state_dict_into_shards(tensors)
    for file, names in split.filename_to_tensors.items():
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
