"""Our decoder: RMSNorm, rotary positions, SwiGLU, grouped-query attention (Llama 2, arXiv 2307.09288).

Weights of Llama-shaped models such as SmolLM2 load into it unchanged in meaning: see `sensorium.interop.llama`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.backbones.backbone import Attention, Backbone
from sensorium.initialisation import unit_variance


class Decoder(Backbone, name="decoder"):
    """A pre-norm causal transformer. Weights start with variance 1 / width, so that signals keep their size at any
    width; what residual branches add is scaled down by depth, as in GPT-2."""

    class Config(Backbone.Config):
        width: int = Field(default=128, ge=8)
        depth: int = Field(default=4, ge=1)
        num_heads: int = Field(default=4, ge=1)
        num_kv_heads: int = Field(default=2, ge=1, description="key-value heads, shared by groups of query heads")
        mlp_width: int = Field(default=384, ge=8, description="inner width of the SwiGLU feed-forward")
        rope_theta: float = Field(default=10_000.0, gt=0)
        norm_eps: float = 1e-5

        @model_validator(mode="after")
        def _dimensions(self) -> Decoder.Config:
            if self.width % self.num_heads or (self.width // self.num_heads) % 2:
                raise ValueError(
                    f"width {self.width} does not split into {self.num_heads} heads of even size; change one"
                )
            if self.num_heads % self.num_kv_heads:
                raise ValueError(
                    f"num_heads {self.num_heads} is no multiple of num_kv_heads {self.num_kv_heads}; change one"
                )
            return self

        @property
        def dim(self) -> int:
            return self.width

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.blocks = nn.ModuleList(DecoderLayer(config, index) for index in range(config.depth))
        self.norm = nn.RMSNorm(config.width, config.norm_eps)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        unit_variance(module)
        if isinstance(module, DecoderLayer):
            for last in (module.out, module.down):
                nn.init.normal_(last.weight, std=(2 * self.config.width * self.config.depth) ** -0.5)

    @property
    def layers(self) -> nn.ModuleList:
        return self.blocks

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

    def output_weight(self) -> Tensor:
        return self.embedding.weight

    def new_cache(self) -> list[tuple[Tensor, Tensor] | None]:
        return [None] * len(self.blocks)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        attention: Attention,
        cache: list[tuple[Tensor, Tensor] | None] | None = None,
    ) -> Tensor:
        rotation = rotary(positions, self.config.width // self.config.num_heads, self.config.rope_theta)
        hidden = embeddings
        for block in self.blocks:
            hidden = block(hidden, rotation, attention, cache)
        return self.norm(hidden)


class DecoderLayer(nn.Module):
    """Grouped-query attention with rotary positions, then SwiGLU; both pre-norm and residual."""

    def __init__(self, config: Decoder.Config, index: int) -> None:
        super().__init__()
        self.index, self.head_dim = index, config.width // config.num_heads
        self.grouped = config.num_heads != config.num_kv_heads
        self.attention_norm = nn.RMSNorm(config.width, config.norm_eps)
        self.q = nn.Linear(config.width, config.num_heads * self.head_dim, bias=False)
        self.k = nn.Linear(config.width, config.num_kv_heads * self.head_dim, bias=False)
        self.v = nn.Linear(config.width, config.num_kv_heads * self.head_dim, bias=False)
        self.out = nn.Linear(config.num_heads * self.head_dim, config.width, bias=False)
        self.mlp_norm = nn.RMSNorm(config.width, config.norm_eps)
        self.gate = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(
        self,
        hidden: Tensor,
        rotation: tuple[Tensor, Tensor],
        attention: Attention,
        cache: list[tuple[Tensor, Tensor] | None] | None,
    ) -> Tensor:
        hidden = hidden + self._attend(self.attention_norm(hidden), rotation, attention, cache)
        normed = self.mlp_norm(hidden)
        return hidden + self.down(F.silu(self.gate(normed)) * self.up(normed))

    def _attend(
        self,
        normed: Tensor,
        rotation: tuple[Tensor, Tensor],
        attention: Attention,
        cache: list[tuple[Tensor, Tensor] | None] | None,
    ) -> Tensor:
        q, k, v = (
            layer(normed).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            before = cache[self.index]
            if before is not None:
                k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
            cache[self.index] = (k, v)
        return self.out(attend(q, k, v, attention).transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor, attention: Attention) -> Tensor:
    """Scaled dot-product attention, `q` `[rows, heads, tokens, head_dim]`, `k` and `v` with as many or fewer heads.

    On a CPU, packed samples are attended to one by one rather than under one masked square: with packs of many samples
    that is several times less work. It is in float32 at least, whose kernels need no compiling for each new length.
    """
    grouped = q.shape[1] != k.shape[1]
    if attention.unpack is None or attention.repack is None or q.is_cuda or k.shape[2] != q.shape[2]:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attention.mask, enable_gqa=grouped)
    dtype, (rows, heads, tokens, head_dim) = q.dtype, q.shape
    flat = torch.cat([q, k, v], dim=1).transpose(1, 2).flatten(0, 1).to(torch.promote_types(dtype, torch.float32))
    samples = flat.index_select(0, attention.unpack.flatten()).unflatten(0, attention.unpack.shape).transpose(1, 2)
    q, k, v = samples.split([heads, k.shape[1], v.shape[1]], dim=1)
    causal = attention.keys is None
    attended = F.scaled_dot_product_attention(q, k, v, attention.keys, is_causal=causal, enable_gqa=grouped)
    attended = attended.transpose(1, 2)
    packed = attended.flatten(0, 1).index_select(0, attention.repack)
    return packed.view(rows, tokens, heads, head_dim).transpose(1, 2).to(dtype)


def rotary(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[rows, 1, tokens, head_dim]` of rotary positions (arXiv 2104.09864), halves layout."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angles = (positions[..., None].float() * frequencies)[:, None]
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Apply `rotary` to `x` `[rows, heads, tokens, head_dim]`."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin
