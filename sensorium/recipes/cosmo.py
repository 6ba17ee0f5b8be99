"""CosMo (arXiv 2401.00849): the lower half of a language model reads text alone and gives embeddings, the upper half
looks through gates."""

from __future__ import annotations

from sensorium.evaluation.suites.retrieval import Retrieval
from sensorium.objectives.captioning_contrastive import CaptioningContrastive
from sensorium.recipe import Recipe, Share, Stage, recipe
from sensorium.recipes import mini
from sensorium.recipes.demo import world
from sensorium.recipes.published import clip_l_224, slot, tokenizer
from sensorium.recipes.towers import RETRIEVAL

OPT_IML = {
    "type": "hf",
    "path": "facebook/opt-iml-1.3b",
    "architecture": {
        "model_type": "opt",
        "vocab_size": 50272,
        "hidden_size": 2048,
        "ffn_dim": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "word_embed_proj_dim": 2048,
        "max_position_embeddings": 2048,
    },
}


@recipe
def cosmo() -> Recipe:
    """CosMo-2B: OPT-IML-1.3B with slim gated blocks (half the inner widths) before every second layer of its upper
    half. It reads pairs and interleaved documents, of pictures and of videos.

    A perceiver's first latent is the picture in the contrastive term; here the text attends to it beside the other 64.
    """
    data = (
        (2, slot("tar", "pairs", "tar shards of captioned pictures (DataComp, LAION)", style="caption")),
        (1, slot("messages", "webvid", "lines with a video of three frames and its text (WebVid)")),
        (2, slot("interleaved", "pages", "pages of texts and pictures (MMC4, OBELICS), three pictures each")),
        (2, slot("messages", "howto-interlink7m", "lines with shots of a video and their texts, in turn")),
    )
    model = {
        "encoder": clip_l_224(feature_layer=None),
        "tiling": {"type": "whole", "fit": "crop"},
        "connector": {"type": "perceiver", "latents": 65, "depth": 6, "projection": False},
        "fusion": {
            "type": "cross-attention", "first": 12, "every": 2, "num_heads": 16, "head_dim": 64, "ff_ratio": 2,
            "only_pictured": False,
        },
        "backbone": OPT_IML,
        "head": {
            "type": "token-and-embedding",
            "embedding": {
                "pool": "query", "layer": 11, "norm": True, "bias": True, "dim": 512, "picture": "first",
                "scale": 1.2214,
            },
        },
        "tokenizer": tokenizer(OPT_IML, "<pad>"),
        "template": {"document": {"prefix": "</s>", "end": "</s>"}, "image": "<image>"},
        "context": 128,
        "overflow": "truncate",
    }  # fmt: skip
    joint = {
        "name": "joint", "data": [{"source": source, "loss_weight": weight} for weight, source in data],
        "balance": "rows", "objective": "captioning-contrastive", "trainable": ["connector", "fusion", "head"],
        "steps": 350_000, "lr": 5e-4, "warmup": 500, "length": 128, "rows": 512, "micro_rows": 64,
    }  # fmt: skip
    held_out = slot("tar", "held-out", "tar shards of captioned pictures", style="caption")
    return Recipe.from_dict({
        "name": "cosmo",
        "summary": "CosMo-2B: half of a language model reads, half of it looks, and both learn to tell pairs apart",
        "model": model,
        "stages": [joint],
        "evaluation": [{"type": "retrieval", "sets": {"pairs": held_out}}],
        "save_every": 5_000,
        "miniature": "cosmo-mini",
    })  # fmt: skip


def join(steps: int) -> Stage:
    """Captions and chats, for what is new; the language model rests."""
    stage = mini.instruct(steps)
    changes = {
        "name": "join",
        "data": (*stage.data, Share(source=world(style="caption"), weight=3)),
        "objective": CaptioningContrastive.Config(),
        "trainable": ("connector", "fusion", "head"),
        "lr": 3e-3,
    }
    return stage.model_copy(update=changes)


@recipe
def cosmo_mini() -> Recipe:
    """CosMo's structure in small: one of three layers reads text alone, gates stand before the others."""
    embedding = "{pool: query, layer: 0, norm: true, bias: true, dim: 64, picture: first, scale: 1.2214}"
    recipe = mini.miniature(
        "cosmo-mini",
        "CosMo's structure on FactorWorld: it answers, and finds captions of pictures",
        mini.PLACES,
        "connector={type: perceiver, latents: 17, num_heads: 4, head_dim: 24, ff_ratio: 2, projection: false}",
        "fusion={type: cross-attention, first: 1, num_heads: 4, head_dim: 24, ff_ratio: 2, only_pictured: false}",
        f"head={{type: token-and-embedding, embedding: {embedding}}}",
        stages=(
            mini.see().model_copy(update={"trainable": ("encoder", "connector", "backbone")}),
            mini.read().model_copy(update={"trainable": ("backbone",)}),
            join(3300),
        ),
    )
    return recipe.model_copy(update={"evaluation": (*recipe.evaluation, Retrieval.Config.from_dict(RETRIEVAL))})
