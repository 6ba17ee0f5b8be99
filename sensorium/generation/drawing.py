"""Pictures of texts, and others like a picture (unCLIP, arXiv 2204.06125, sections 2 and 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image as PILImage
from torch import Tensor

from sensorium.data.batch import collate
from sensorium.diffusion import dice_of
from sensorium.generation.embedding import GROUP, embed, lay_alone
from sensorium.model import Model
from sensorium.priors.prior import Wording
from sensorium.sample import Sample, Table, Text


def draw(
    model: Model,
    samples: Sequence[Sample],
    count: int = 1,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Tensor]:
    """For each sample `count` tiles, uint8 `[count, 3, height, width]`. A text goes through the prior first; a picture
    is embedded. A `DataError` for a sample with both, a `ConfigError` if the model has no painter.

    What is drawn depends on the model, the prompt, its place among those of its kind, and `seed`; `on_done` is told how
    many are done.
    """
    model.painting  # noqa: B018 - what cannot draw is told before anything is computed
    told = [all(isinstance(segment, Text | Table) for segment in sample.segments) for sample in samples]
    texts, shown = ([one for one, text in zip(samples, told, strict=True) if text is kind] for kind in (True, False))
    vectors = torch.cat([imagine(model, texts, count, seed), seen(model, shown).repeat_interleave(count, dim=0)])
    drawn = list(paint(model, vectors, seed, count, guidance, steps, on_done).split(count)) if len(vectors) else []
    ways = {True: iter(drawn[: len(texts)]), False: iter(drawn[len(texts) :])}
    return [next(ways[text]) for text in told]


@torch.inference_mode()
def paint(
    model: Model,
    vectors: Tensor,
    seed: int = 0,
    count: int = 1,
    guidance: float | None = None,
    steps: int | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Tensor:
    """Embeddings `[n, joint_dim]`, `count` for each prompt in turn, to tiles uint8 `[n, 3, height, width]` on the CPU.
    The noise that a drawing begins with is that of its place among those of its prompt."""
    names, found = [f"paint {i % count}" for i in range(len(vectors))], []
    for start in range(0, len(vectors), GROUP):
        dice = dice_of(names[start : start + GROUP], seed)
        found.append(model.painting.paint(vectors[start : start + GROUP], dice, guidance, steps).cpu())
        if on_done:
            on_done(min(start + GROUP, len(vectors)))
    return torch.cat(found)


def seen(model: Model, pictures: Sequence[Sample]) -> Tensor:
    """`[pictures, joint_dim]`: the embedding of each."""
    return embed(model, pictures).to(model.device)


@torch.inference_mode()
def imagine(model: Model, texts: Sequence[Sample], count: int, seed: int) -> Tensor:
    """`[texts * count, joint_dim]`: embeddings of pictures that each text could be of, drawn so often."""
    found = [embed(model, []).to(model.device)]
    for start in range(0, len(texts), GROUP):
        part = texts[start : start + GROUP]
        batch = collate([[lay_alone(model, one)] for one in part], model.layout).to(model.device)
        hidden, _, embedded = model.embed_batch(batch)
        wording = Wording.of(hidden, embedded, batch, embedded.samples).repeated(count)
        names = [f"imagine {start + i // count} {i % count}" for i in range(len(part) * count)]
        found.append(model.prior.imagine(wording, dice_of(names, seed)))
    return torch.cat(found)


def said(text: str) -> Sample:
    """A text as a prompt of its own."""
    return Sample((Text(text, role="document"),), id=text[:40])


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Between two embeddings `[..., dim]` of length 1, on the sphere; at 0 the first (section 3.2)."""
    angle = (one * other).sum(-1, keepdim=True).clamp(-1, 1).arccos()
    near = angle.sin() < 1e-4
    weights = [torch.where(near, part, (part * angle).sin() / angle.sin()) for part in (1 - share, share)]
    return torch.nn.functional.normalize(weights[0] * one + weights[1] * other, dim=-1)


def pictures(tiles: Tensor) -> list[PILImage.Image]:
    """Tiles uint8 `[n, 3, height, width]` as pictures."""
    return [PILImage.fromarray(tile.permute(1, 2, 0).contiguous().numpy()) for tile in tiles]
