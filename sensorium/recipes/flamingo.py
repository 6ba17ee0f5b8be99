"""Flamingo (arXiv 2204.14198) and OpenFlamingo (arXiv 2308.01390): a frozen language model looks through gates."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.recipes import mini
from sensorium.recipes.published import LLAVA_GREY, clip_l_224, shares, slot
from sensorium.template import ChatTemplate, Turn

CHUNK = "<|endofchunk|>"


def chunks(end: str = "", begin: str = "") -> dict[str, Any]:
    """`<image>` stands for a picture; what is said of it ends with a mark, and running text with `end` as well."""
    document = Turn(prefix=begin, end=CHUNK + end)
    user, assistant = Turn(prefix="Question:"), Turn(prefix=" Short answer:", end=CHUNK)
    return ChatTemplate(
        document=document, user=user, assistant=assistant, image="<image>", end_of_chunk=CHUNK
    ).to_dict()


def model(perceiver: dict[str, Any], fusion: dict[str, Any], backbone: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """CLIP ViT-L/14, 64 latents of its width, and gated blocks; a text of 256 tokens."""
    return {
        "encoder": clip_l_224(feature_layer=None),
        "tiling": {"type": "whole", "fit": "pad", "fill": LLAVA_GREY},
        "connector": {"type": "perceiver", "latents": 64, "depth": 6, "projection": False, **perceiver},
        "fusion": {"type": "cross-attention", "only_pictured": False, **fusion},
        "backbone": backbone,
        "context": 256,
        "overflow": "truncate",
        **keys,
    }


def joint(data: list[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    """The one stage: what lies between the frozen parts learns from all sources at once, each on rows of its own."""
    return {
        "name": "joint", "data": data, "balance": "rows", "trainable": ["connector", "fusion"], "lr": 1e-4,
        "schedule": "constant", "weight_decay": 0.1, **keys,
    }  # fmt: skip


@recipe
def flamingo() -> Recipe:
    """Flamingo-3B: gated blocks before each of 24 layers, a perceiver that knows the time of video frames.

    Its own parts were never released. A CLIP ViT-L/14 stands in for the NFNet-F6 (a row of the paper's ablations), a
    decoder of Chinchilla-1.4B's width, depth and heads for that. Pages have at most five pictures there.
    """
    mixture = shares(
        (1.0, slot("interleaved", "m3w", "43 million web pages (M3W)")),
        (0.2, slot("captions", "align", "1.8 billion pictures with alt-texts (ALIGN)")),
        (0.2, slot("captions", "ltip", "312 million pictures with longer texts (LTIP)")),
        (0.03, slot("messages", "vtp", "27 million short videos with texts (VTP)")),
        by="loss_weight",
    )
    squared = {"num_heads": 16, "activation": "squared-relu"}
    sizes = {"width": 2048, "depth": 24, "num_heads": 16, "num_kv_heads": 16, "mlp_width": 5504}
    words = {"type": "hf", "path": "huggyllama/llama-7b", "vocab_size": 32002, "specials": [CHUNK, "<image>"]}
    return Recipe.from_dict({
        "name": "flamingo",
        "miniature": "flamingo-mini",
        "summary": "Flamingo-3B: a frozen language model attends to the last picture through scalar gates",
        "model": model(
            {**squared, "head_dim": 96, "time_embeddings": 8}, {**squared, "head_dim": 128},
            {"type": "decoder", **sizes}, tokenizer=words, template=chunks(begin="<s>"),
        ),
        "stages": [joint(mixture, steps=500_000, warmup=5_000, length=256, rows=1024, micro_rows=16)],
        "save_every": 5_000,
    })  # fmt: skip


@recipe
def openflamingo() -> Recipe:
    """OpenFlamingo-4B: gated blocks before every second of 32 layers; the new tokens' embeddings are never trained.

    MMC4 sets the length, 60 million pages of 256 tokens in all; each step has as many rows of LAION beside it.
    """
    mixture = shares(
        (1.0, {"type": "after-pictures", "source": slot("mmc4", "mmc4", "Multimodal C4")}),
        (0.2, slot("captions", "laion-2b", "pairs of LAION-2B")),
        by="loss_weight",
    )
    words = {"type": "hf", "path": "togethercomputer/RedPajama-INCITE-Base-3B-v1", "specials": [CHUNK, "<image>"]}
    steps = 60_000_000 // 1024
    return Recipe.from_dict({
        "name": "openflamingo",
        "miniature": "openflamingo-mini",
        "summary": "OpenFlamingo-4B: CLIP ViT-L/14 and RedPajama-INCITE-3B, joined on MMC4 and LAION",
        "model": model(
            {}, {"every": 2}, {"type": "hf", "architecture": REDPAJAMA}, tokenizer=words,
            template=chunks(end="<|endoftext|>"),
        ),
        "stages": [
            joint(mixture, steps=steps, warmup=1_875, betas=[0.9, 0.999], length=2048, rows=2 * 128, micro_rows=2)
        ],
        "save_every": 2_000,
    })  # fmt: skip


REDPAJAMA = {
    "model_type": "gpt_neox",
    "vocab_size": 50432,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    "use_parallel_residual": False,
}


@recipe
def openflamingo_mini() -> Recipe:
    """OpenFlamingo's structure in small: as `flamingo-mini`, with GELU and a block before every second layer."""
    return flamingo_mini().variant(
        "openflamingo-mini",
        "summary=OpenFlamingo in small, gated blocks before every second layer",
        "model.connector.activation=gelu",
        "model.fusion.activation=gelu",
        "model.fusion.every=2",
        "model.backbone.depth=4",
    )


@recipe
def flamingo_mini() -> Recipe:
    """Flamingo's structure in small: eyes and a language model that learned each for itself, and rest; then gates."""
    look = {"name": "join", "trainable": ("connector", "fusion"), "lr": 3e-3}
    return mini.miniature(
        "flamingo-mini",
        "Flamingo in small: a perceiver and gated blocks between a frozen encoder and a frozen language model",
        mini.PLACES,
        "connector={type: perceiver, latents: 16, num_heads: 4, head_dim: 24, ff_ratio: 2, projection: false}",
        "fusion={type: cross-attention, num_heads: 4, head_dim: 24, only_pictured: false}",
        "connector.activation=squared-relu",
        "fusion.activation=squared-relu",
        stages=(mini.see(), mini.read(), mini.instruct(3300).model_copy(update=look)),
    )
