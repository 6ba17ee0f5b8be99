"""The recipe at its full size, on torch's meta device: whether its parts fit together, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.checks.finding import require
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut
from sensorium.diffusion import dice_of
from sensorium.initialisation import Unfilled
from sensorium.layout import MediaRule
from sensorium.model import PARTS, Model, ModelConfig
from sensorium.priors.prior import Wording
from sensorium.recipe import Recipe, Stage
from sensorium.tokenizers.bpe import BPE
from sensorium.tokenizers.hf import HFTokenizer
from sensorium.training.optimisation import set_trainable

SIZES = ((336, 336), (640, 480), (1344, 896), (500, 2000))
"""Pictures (width, height) whose tokens are told."""
SECONDS = (5, 30, 120)
"""Sounds, if the encoder hears."""
BYTES = {"weights": 4, "gradients": 4, "AdamW": 8}
"""Bytes a parameter, in float32; the last two for trainable ones only."""
RANKS = (1, 8)
SEEING = ("encoder", "connector")
"""Parts of which few layers, of the same widths, are asked what they give for a picture: more would say the same."""


@dataclass(frozen=True)
class Vocabulary:
    """Stands in for a tokenizer that lies elsewhere: its size is that of the weights, a mark is one token."""

    vocab_size: int
    pad_id: int = 0

    def markers(self, text: str) -> tuple[int, ...]:
        return (0,) if text else ()


def full_size(recipe: Recipe) -> str:
    """The parts announce what they give, on the meta device at full size; what pictures, stages and ranks take."""
    model = on_meta(recipe.model)
    total = _size(model)
    parts = ", ".join(f"{name} {_number(size)}" for name, size in _by_part(model).items() if size)
    _draws(model)
    shallow = on_meta(
        recipe.model.model_copy(update={name: getattr(model.config, name).miniature() for name in SEEING})
    )
    sizes = _sizes(model)
    media = "; ".join(f"{said} {_medium(shallow, size)}" for size, said in sizes.items())
    medium = {"image": "a picture", "audio": "a sound"}[model.encoder.modality]
    stages = "; ".join(_stage(model, stage) for stage in recipe.stages)
    return f"{_number(total)} parameters ({parts}); {medium}: {media}; {stages}"


def _sizes(model: Model) -> dict[tuple[int, int], str]:
    """Of pictures or sounds, and how they are written; sounds up to the longest that is read."""
    if (rate := model.config.encoder.rate) is None:
        return {size: f"{size[0]}x{size[1]}" for size in SIZES}
    longest = model.config.tiling.max_tiles * model.config.encoder.input_size[0]
    lengths = [seconds * rate for seconds in SECONDS if seconds * rate < longest]
    return {(length, 1): f"{length / rate:g} s" for length in (*lengths, longest)}


def on_meta(config: ModelConfig) -> Model:
    """The model without memory for its weights, and without the files that its tokenizer lies in."""
    config = config.model_copy(update={name: getattr(config, name).resolved() for name in PARTS})
    size = config.backbone.vocab_size
    if size is None and isinstance(config.tokenizer, BPE.Config | HFTokenizer.Config):
        size = config.tokenizer.vocab_size
    tokenizer = config.make_tokenizer() if size is None else Vocabulary(size)
    with torch.device("meta"), Unfilled():
        return Model(config, tokenizer)  # type: ignore[arg-type]


def _medium(model: Model, size: tuple[int, int]) -> str:
    """Features and places of a picture or sound, announced and given alike."""
    config, rule, layout = model.config, model.config.media_rule, model.layout
    cut = layout.cut(size)
    announced, places = rule.features(cut), layout.tokens_for(size)
    with torch.no_grad():
        given = model.media_of(_blank(model, cut), _alone(rule, cut))
    wanted = (announced, config.media_dim)
    require(given.shape == wanted, f"one of {size}: {wanted} features announced, {tuple(given.shape)} given")
    notes = [f"{announced} features beside the text"] if places < announced else []
    notes += [f"more than the context of {config.context}"] if places >= config.context else []
    return f"{cut.plan.tiles} tiles, {places} tokens" + (f" ({', '.join(notes)})" if notes else "")


@torch.no_grad()
def _draws(model: Model) -> None:
    """A prior and a painter, if there are any, take what the others give them."""
    tokens, real = torch.zeros(1, 3, model.config.backbone.dim), torch.ones(1, 3, dtype=torch.bool)
    width = 0 if model.head.embedding is None else model.head.embedding.projection.out_features
    vectors, (wide, high) = torch.zeros(1, width, device="meta"), model.config.encoder.input_size
    found = []
    if model.config.prior.type_name != "none":
        wording = Wording(vectors, tokens.to("meta"), real.to("meta"))
        found.append(model.prior.errors(vectors, wording, dice_of(["one"], 0)))
    if model.painter.paints:
        tile = torch.zeros(1, 3, high, wide, dtype=torch.uint8, device="meta")
        found.append(model.painter.errors(tile, vectors, dice_of(["one"], 0)))
    require(all(one.shape == (1,) for one in found), f"{[list(one.shape) for one in found]} errors of one picture")


def _blank(model: Model, cut: Cut) -> Tensor:
    tiles = torch.from_numpy(model.layout.tiling.blank()).to("meta")
    return tiles.new_zeros(cut.plan.tiles, *tiles.shape[1:])


def _alone(rule: MediaRule, cut: Cut) -> Pictures:
    one, places = torch.zeros(1, dtype=torch.int64), torch.arange(cut.plan.tiles)
    return Pictures(one, one, one + 1, one + rule.features(cut), places, (cut,)).to("meta")


def _stage(model: Model, stage: Stage) -> str:
    """What it trains and takes, after those of its edits that need no data and no other model."""
    for edit in stage.edits:
        if not (edit.part.reads_data or edit.needs()):
            with torch.device("meta"):
                edit.build()(model, iter(()), lambda name: model)
    if not stage.steps:
        return f"stage {stage.name}: edits alone"
    total = _size(model)
    trained = sum(model.get_parameter(name).numel() for name, on in set_trainable(model, stage).items() if on)
    memory = BYTES["weights"] * total + (BYTES["gradients"] + BYTES["AdamW"]) * trained
    shares = ", ".join(f"{memory / ranks / 2**30:.3g} GiB on {ranks}" for ranks in RANKS)
    return f"stage {stage.name}: {trained / total:.1%} trained, states {shares} ranks"


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _by_part(model: Model) -> dict[str, int]:
    """Parameters of each part; those that parts share are the first one's."""
    counted = {str(name): 0 for name in PARTS}
    for name, parameter in model.named_parameters():
        counted[name.split(".")[0]] += parameter.numel()
    return counted


def _number(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.1f} M"
