"""Open-Qwen2VL (2504.00595): few tokens a picture and packed rows in pre-training, all tokens in tuning."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, recipe
from sensorium.recipes.mini import instruct, miniature, see
from sensorium.recipes.published import QWEN_2_5_1_5B, siglip_so400m_384, slot, tokenizer
from sensorium.stage import Stage
from sensorium.template import ChatTemplate

TRAINED = ["connector", "backbone", "head"]


@recipe
def open_qwen2vl() -> Recipe:
    """SigLIP, average pooling and Qwen2.5-1.5B: 144 tokens a picture, then 729 with the same weights."""
    pairs = (slot("captions", "cc-sbu", "CC3M, CC12M and SBU"), slot("captions", "datacomp-dfn-mlm", "19.9 M pairs"))
    shares = [{"source": pair, "weight": millions} for pair, millions in zip(pairs, (8.5, 19.9), strict=True)]
    tuned = slot("llava", "llava-mix-665k", "LLaVA-1.5's mixture (llava_v1_5_mix665k.json and its images)")
    shared = {"trainable": TRAINED, "length": 4096, "micro_rows": 1, "schedule": "cosine"}
    return Recipe.from_dict({
        "name": "open-qwen2vl",
        "summary": "SigLIP and Qwen2.5-1.5B, 144 tokens a picture and then 729 (2504.00595)",
        "miniature": "open-qwen2vl-mini",
        "model": {
            "encoder": siglip_so400m_384(),
            "connector": {"type": "average-pool", "side": 12},
            "backbone": QWEN_2_5_1_5B,
            "tokenizer": tokenizer(QWEN_2_5_1_5B, "<|endoftext|>"),
            "template": ChatTemplate.chatml().to_dict(),
            "context": 4096,
        },
        "stages": [
            {
                "name": "pretrain", "data": shares,
                "steps": 5_000_000_000 // (256 * 4096), "rows": 256, "lr": 5e-5, "warmup": 143, "weight_decay": 0.01,
                "packing": "first-fit-decreasing", "isolated": False, **shared,
            },
            {
                "name": "instruct", "data": [{"source": tuned}], "edits": [MORE], "steps": 665_000 // 128, "rows": 128,
                "lr": 2e-5, "warmup": 156, "weight_decay": 0.1, **shared,
            },
        ],
    })  # fmt: skip


MORE = {"type": "reconfigure", "changes": ["connector.side=27"]}
"""Pooling has no weights, so the projection carries over."""


@recipe
def open_qwen2vl_mini() -> Recipe:
    """Its two stages on FactorWorld, after one that stands for SigLIP: 4 tokens a picture, then all 16."""

    def pooled(name: str, steps: int, side: int, **keys: Any) -> Stage:
        edit = {"type": "reconfigure", "changes": [f"connector.side={side}"]}
        return Stage.from_dict({**instruct(steps).to_dict(), "name": name, "edits": [edit], **keys})

    stages = see(), pooled("pretrain", 1300, 2, isolated=False), pooled("instruct", 2700, 4)
    changes = "connector={type: average-pool, side: 4}"
    return miniature("open-qwen2vl-mini", "Open-Qwen2VL's structure on FactorWorld", changes, stages=stages)
