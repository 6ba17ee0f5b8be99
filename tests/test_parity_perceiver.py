"""Our perceiver against a second derivation from the specification (xGen-MM's PerceiverResampler), written in loops.

The specification: latents ~ N(0, 1); layer i: `x_kv = concat(LN_media(x), LN_lat(z))`; q from LN_lat(z), k and v from
x_kv, no biases; scale 1/sqrt(head_dim); softmax with the row maximum subtracted; masked keys get -inf and the latents
are never masked; `z += out(attention)`; `z += FF(z)` with FF = LN, Linear, GELU, Linear without biases; at the end a
LayerNorm and a projection with bias.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sensorium.connectors.perceiver import Perceiver

State = dict[str, Tensor]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(z: Tensor, x: Tensor, mask: Tensor, state: State, layer: str, heads: int, head_dim: int) -> Tensor:
    """Of one picture: latents `z` `[latents, dim]`, features `x` `[tokens, dim]`, `mask` `[tokens]` true where seen."""
    normed = layer_norm(z, state[f"{layer}.latent_norm.weight"], state[f"{layer}.latent_norm.bias"])
    media = layer_norm(x, state[f"{layer}.media_norm.weight"], state[f"{layer}.media_norm.bias"])
    keys_values = torch.cat([media, normed])
    visible = torch.cat([mask, torch.ones(len(z), dtype=torch.bool)])
    inner = heads * head_dim
    to_kv = state[f"{layer}.to_kv.weight"]
    q = torch.einsum("ld,id->li", normed, state[f"{layer}.to_q.weight"])
    k = torch.einsum("td,id->ti", keys_values, to_kv[:inner])
    v = torch.einsum("td,id->ti", keys_values, to_kv[inner:])
    heads_out = []
    for head in range(heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        rows = []
        for query in q[:, part]:
            scores = torch.einsum("i,ti->t", query, k[:, part]) / math.sqrt(head_dim)
            scores[~visible] = -math.inf
            weights = torch.exp(scores - scores.max())
            rows.append(torch.einsum("t,ti->i", weights / weights.sum(), v[:, part]))
        heads_out.append(torch.stack(rows))
    return torch.einsum("li,di->ld", torch.cat(heads_out, dim=1), state[f"{layer}.to_out.weight"])


def resample(x: Tensor, mask: Tensor, state: State, config: Perceiver.Config) -> Tensor:
    z = state["latents"]
    for number in range(config.depth):
        layer = f"layers.{number}"
        z = z + attention(z, x, mask, state, layer, config.num_heads, config.head_dim)
        ff = f"{layer}.feed_forward"
        hidden = layer_norm(z, state[f"{ff}.0.weight"], state[f"{ff}.0.bias"]) @ state[f"{ff}.1.weight"].T
        z = z + gelu(hidden) @ state[f"{ff}.3.weight"].T
    return (
        layer_norm(z, state["norm.weight"], state["norm.bias"]) @ state["projection.weight"].T
        + state["projection.bias"]
    )


@pytest.fixture
def perceiver() -> Perceiver:
    torch.manual_seed(0)
    config = Perceiver.Config(latents=5, depth=3, num_heads=2, head_dim=6, ff_ratio=4)
    part = config.build(in_dim=16, out_dim=12, grid=(3, 3)).double()
    with torch.no_grad():
        for weight in part.parameters():  # biases and norms away from their trivial first values
            weight.add_(torch.randn_like(weight) * 0.2)
    return part


MASKS = {"none": [9, 9], "one half": [9, 4], "all of one picture": [0, 9]}


@torch.no_grad()
@pytest.mark.parametrize("seen", MASKS.values(), ids=MASKS.keys())
def test_matches_the_specification(perceiver: Perceiver, seen: list[int]) -> None:
    x = torch.randn(2, 9, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    mask = torch.arange(9) < torch.tensor(seen)[:, None]
    wanted = torch.stack([resample(x[i], mask[i], perceiver.state_dict(), perceiver.config) for i in range(2)])
    torch.testing.assert_close(perceiver(x, mask), wanted, rtol=1e-9, atol=1e-9)
    if all(mask.flatten()):
        torch.testing.assert_close(perceiver(x), wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_what_is_masked_does_not_matter(perceiver: Perceiver) -> None:
    x, mask = torch.randn(1, 9, 16, dtype=torch.float64), torch.arange(9)[None] < 4
    other = torch.where(mask[..., None], x, 1e6)
    assert torch.equal(perceiver(x, mask), perceiver(other, mask))


def test_size_is_that_of_the_released_model() -> None:
    config = Perceiver.Config(latents=128, depth=6, num_heads=16, head_dim=96, ff_ratio=4)
    with torch.device("meta"):
        part = config.build(in_dim=1152, out_dim=3072, grid=(27, 27))
    assert sum(weight.numel() for weight in part.parameters()) == 109_901_568
    assert config.out_tokens(729, (27, 27)) == 128
