"""xGen-MM (BLIP-3, 2408.08872): any resolution, a perceiver resampler, interleaved data, one loss, staged training."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.recipes.mini import align_connector, instruct, miniature, see, speak
from sensorium.recipes.published import PHI_3_MINI, dfn_h_378, phi_3, siglip_so400m_384, slot, tokenizer

BLACK = (0, 0, 0)
RELEASED = {
    "type": "grid", "canvases": [(2, 1), (1, 2), (2, 2), (1, 3), (3, 1)], "thumbnail": "stretch",
    "always_thumbnail": True, "fill": BLACK,
}  # fmt: skip
"""The canvases of the released code, (rows, columns) of tiles, beside a squashed picture of the whole."""
TRAINED = ["connector", "assembly", "backbone", "head"]
"""The encoder is frozen in every stage (section 3.1)."""

PAIRS = {
    "kale": ("captions", 25.0), "datacomp-1b": ("captions", 10.0), "blip3-ocr-200m": ("captions", 5.0),
    "blip3-grounding-50m": ("captions", 5.0), "cc12m": ("captions", 1.25), "cc3m": ("captions", 1.25),
    "sbu": ("captions", 1.25), "visual-genome": ("captions", 1.25),
}  # fmt: skip
INTERLEAVED = {"mint-1t": ("interleaved", 32.5), "obelics": ("interleaved", 17.5)}
"""Shares of the samples of the first stage in percent (2408.08872v4, section 4)."""


def mixture(shares: dict[str, tuple[str, float]]) -> list[dict[str, Any]]:
    return [
        {"source": slot(kind, folder, f"{folder} in the form of {kind}"), "weight": weight}
        for folder, (kind, weight) in shares.items()
    ]


def tuning(name: str, folder: str, samples: int, **keys: Any) -> dict[str, Any]:
    """Instruction tuning as in the released script: an epoch in batches of 64, 2,000 steps of warm-up, no decay."""
    return {
        "name": name, "data": [{"source": slot("llava", folder, f"{folder} in the form of llava")}],
        "trainable": TRAINED, "steps": samples // 64, "lr": 2e-5, "warmup": 2000, "weight_decay": 0.0,
        "rows": 64, "micro_rows": 1, "length": 2048, **keys,
    }  # fmt: skip


def model(encoder: dict[str, Any], **connector: Any) -> dict[str, Any]:
    """128 latents of each tile for Phi-3-mini; `connector` changes the resampler."""
    resampler = {"type": "perceiver", "latents": 128, "depth": 6, "num_heads": 16, "head_dim": 96}
    return {
        "encoder": encoder,
        "tiling": RELEASED,
        "connector": {**resampler, **connector},
        "assembly": {"type": "masked-tiles", "view": "strips"},
        "backbone": PHI_3_MINI,
        "tokenizer": tokenizer(PHI_3_MINI, "<unk>"),
        "template": phi_3().to_dict(),
        "context": 2048,
        "overflow": "truncate",
    }


@recipe
def xgen_mm() -> Recipe:
    """xGen-MM v1.5, 4 B. The rate and batch of pre-training are not published: those here are ours."""
    pretraining = {
        "trainable": TRAINED, "lr": 1e-4, "warmup": 2000, "weight_decay": 0.1, "rows": 512, "micro_rows": 1,
        "length": 2048,
    }  # fmt: skip
    tokens = 512 * 2048
    return Recipe.from_dict({
        "name": "xgen-mm",
        "summary": "SigLIP, a perceiver resampler and Phi-3-mini on tiles of any resolution (2408.08872)",
        "miniature": "xgen-mm-mini",
        "model": model(siglip_so400m_384()),
        "stages": [
            {
                "name": "base", "data": mixture(INTERLEAVED | PAIRS), "tiling": "whole",
                "steps": 100_000_000_000 // tokens, **pretraining,
            },
            {
                "name": "high-resolution",
                "data": mixture(INTERLEAVED | PAIRS | {
                    "kale": ("captions", 10.0), "datacomp-1b": ("captions", 2.5), "blip3-ocr-200m": ("captions", 10.0),
                    "idl": ("captions", 10.0), "blip3-grounding-50m": ("captions", 2.5),
                }),
                "steps": 30_000_000_000 // tokens, **pretraining,
            },
            tuning("single-image", "xgen-mm-single-image-sft", 3_000_000),
            tuning("multi-image", "xgen-mm-interleaved-sft", 2_000_000),
        ],
    })  # fmt: skip


FIRST = {
    "datacomp-1b": ("captions", 1.0), "cc12m": ("captions", 1.0), "cc3m": ("captions", 1.0), "sbu": ("captions", 1.0),
    "visual-genome": ("captions", 1.0), "obelics": ("interleaved", 5.0),
}  # fmt: skip
"""What r-v1 was pre-trained on, by its model card, which does not tell the shares: half pairs and half pages here."""


@recipe
def xgen_mm_r1() -> Recipe:
    """xGen-MM r-v1 (BLIP-3, May 2024), 4.6 B, before there was a paper: DFN's ViT-H, and a resampler that reads what is
    asked. The model card names the data; stages follow those of v1.5, and shares, rates, batches and steps are ours.

    Its resampler looks at padding and reads the placeholder of a picture; it is kept from both here, as v1.5's is from
    padding. What is imported has `model.assembly.hides=false` and `model.connector.placeholders=true`.
    """
    common = {"trainable": TRAINED, "weight_decay": 0.1, "warmup": 2000, "rows": 512, "micro_rows": 1, "length": 2048}
    return Recipe.from_dict({
        "name": "xgen-mm-r1",
        "summary": "xGen-MM's first release: DFN ViT-H, a resampler that reads what is asked, Phi-3-mini",
        "miniature": "xgen-mm-r1-mini",
        "model": model(dfn_h_378(), instruction_tokens=256),
        "stages": [
            {"name": "base", "data": mixture(FIRST), "tiling": "whole", "steps": 100_000, "lr": 1e-4, **common},
            tuning("instruct", "xgen-mm-instructions", 1_000_000),
        ],
    })  # fmt: skip


@recipe
def xgen_mm_r1_mini() -> Recipe:
    """The miniature of xGen-MM with a resampler that reads what is asked."""
    return xgen_mm_mini().variant(
        "xgen-mm-r1-mini",
        "summary=xGen-MM's first release in small, with a resampler that reads what is asked",
        "model.connector.instruction_tokens=32",
    )


@recipe
def xgen_mm_mini() -> Recipe:
    """xGen-MM's parts and stages on FactorWorld, after stages that stand for SigLIP and Phi-3: an encoder for 32 pixels
    sees a thumbnail and four tiles, of each of which four latents leave."""
    base = align_connector().model_copy(update={"name": "base"})
    changes = (
        "encoder.image_size=32",
        "encoder.patch_size=8",
        "encoder.position_std=0.5",
        "tiling={type: grid, thumbnail: stretch}",
        "connector={type: perceiver, latents: 4, depth: 2, num_heads: 4, head_dim: 24}",
        "assembly=masked-tiles",
    )
    stages = see(), speak(), base, instruct()
    return miniature("xgen-mm-mini", "xGen-MM's structure on FactorWorld", *changes, stages=stages)
