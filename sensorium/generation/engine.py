"""Generation: prompts of any lengths together, a key-value cache, greedy or sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sensorium.backbones.backbone import Attention
from sensorium.data.batch import collate
from sensorium.laid_out import LaidOut
from sensorium.model import Model
from sensorium.sample import Sample


def generate(
    model: Model,
    prompts: Sequence[Sample],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    on_done: Callable[[int], None] | None = None,
    on_cut: Callable[[int], None] | None = None,
) -> list[str]:
    """The assistant's reply to each prompt. Prompts of like length run together; `on_done` is told how many are done,
    `on_cut` which prompts' replies had not ended at `max_tokens` or the end of the context.

    At temperature 0 the reply is greedy and does not depend on the company a prompt keeps (up to rounding).
    """
    laid = [model.layout(prompt, reply="assistant") for prompt in prompts]
    order = sorted(range(len(laid)), key=lambda i: len(laid[i]))
    replies = [""] * len(laid)
    sampler = Sampler(temperature, top_p, seed, model.device)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        written: list[list[int]] = [[] for _ in chosen]
        for tokens in stream(model, [laid[i] for i in chosen], max_tokens, sampler):
            for ids, token in zip(written, tokens, strict=True):
                if token is not None:
                    ids.append(token)
        for i, ids in zip(chosen, written, strict=True):
            replies[i] = model.tokenizer.decode(ids).strip()
            if on_cut and len(ids) >= min(max_tokens, model.config.context - len(laid[i])):
                on_cut(i)
        if on_done:
            on_done(start + len(chosen))
    return replies


@torch.inference_mode()
def stream(model: Model, laid: Sequence[LaidOut], max_tokens: int, sampler: Sampler) -> Iterator[list[int | None]]:
    """One token a prompt at a time, `None` for those that have ended; the context ends each prompt by itself."""
    head, stop = model.writer, model.tokenizer.markers(model.config.template.assistant.end)[:1]
    batch = collate([[one] for one in laid], model.layout).to(model.device)
    cache = model.backbone.new_cache()
    hidden, state = model.read(batch, cache)
    lengths = torch.tensor([len(one) for one in laid], device=model.device)
    last = hidden[torch.arange(len(laid), device=model.device), lengths - 1]
    seen = batch.documents > 0
    ended = torch.zeros(len(laid), dtype=torch.bool, device=model.device)
    for step in range(max_tokens):
        tokens = sampler(head(last).float())
        ended |= lengths + step >= model.config.context
        ended |= torch.isin(tokens, torch.tensor(stop, device=model.device))
        yield [None if done else int(token) for token, done in zip(tokens, ended, strict=True)]
        if bool(ended.all()):
            return
        seen = torch.cat([seen, seen.new_ones(len(laid), 1)], dim=1)
        embeddings = model.backbone.embed(tokens[:, None])
        positions = (lengths + step).clamp(max=model.config.context - 1)  # beyond it only those that have ended
        state = model.fusion.next(state)
        with model.fusion.during(state):
            last = model.backbone(embeddings, positions[:, None], Attention(seen[:, None, None]), cache)[:, -1]


class Sampler:
    """Logits `[rows, vocab]` to tokens `[rows]`: the best at temperature 0, else drawn from the nucleus `top_p`
    (Holtzman et al., arXiv 1904.09751)."""

    def __init__(self, temperature: float, top_p: float, seed: int, device: torch.device) -> None:
        self.temperature, self.top_p = temperature, top_p
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        probabilities, order = (logits / self.temperature).softmax(-1).sort(descending=True)
        outside = probabilities.cumsum(-1) - probabilities > self.top_p
        drawn = torch.multinomial(probabilities.masked_fill(outside, 0.0), 1, generator=self.generator)
        return order.gather(-1, drawn)[:, 0]
