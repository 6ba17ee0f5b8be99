"""BLIP-2 (2301.12597): a Q-Former between a frozen encoder and a frozen language model, taught in two stages."""

from __future__ import annotations

from typing import Any

from sensorium.recipe import Recipe, Stage, recipe
from sensorium.recipes import mini
from sensorium.recipes.demo import world
from sensorium.recipes.published import OPT_2_7B, eva_g_224, slot, tokenizer

PEOPLE = {"coco": "captions of COCO", "visual-genome": "descriptions of Visual Genome"}
WEB = {"cc3m": "CC3M", "cc12m": "CC12M", "sbu": "SBU", "laion-115m": "115 million pictures of LAION-400M"}
WITHOUT_TEXT = {"type": "reconfigure", "changes": ["connector.text=false"]}


def captions() -> list[dict[str, Any]]:
    """129 million pictures, each four times in a pass. Those of the web have the two captions of CapFilt (arXiv
    2201.12086) that CLIP likes best, of which one is drawn each time."""

    def mixed(folder: str, what: str, *fields: str) -> dict[str, Any]:
        form = "key.jpg and key.json with " + " and ".join(f'"{field}"' for field in fields)
        shards = slot("tar", folder, f"{what}, tar shards of {form}", style="caption", caption=f"{{{fields[0]}}}")
        drawn = {f"{{{field}}}": 1.0 for field in fields}
        return {"source": {"type": "caption-mix", "source": shards, "captions": drawn, "copies": 4}}

    people = [mixed(folder, what, "caption") for folder, what in PEOPLE.items()]
    return people + [mixed(folder, what, "first", "second") for folder, what in WEB.items()]


def stage(name: str, steps: int, rows: int, **keys: Any) -> dict[str, Any]:
    """Sources by their sizes; a row of 1,024 tokens holds about 20 pairs of 32 queries and a caption."""
    return {
        "name": name, "data": captions(), "temperature": 1.0, "trainable": ["connector"], "steps": steps, "lr": 1e-4,
        "warmup": 2000, "betas": (0.9, 0.98), "weight_decay": 0.05, "rows": rows, "micro_rows": 7, "length": 1024,
        **keys,
    }  # fmt: skip


@recipe
def blip2() -> Recipe:
    """BLIP-2 with EVA-CLIP-g and OPT-2.7B, schedules as in the paper's section 3.4: batches of 1,680 and 1,920."""
    q_former = {"type": "q-former", "queries": 32, "width": 768, "depth": 12, "num_heads": 12, "dropout": 0.1,
                "text": True}  # fmt: skip
    return Recipe.from_dict({
        "name": "blip2",
        "summary": "EVA-CLIP-g and OPT-2.7B, both frozen, and a Q-Former between them (2301.12597)",
        "miniature": "blip2-mini",
        "model": {
            "encoder": eva_g_224(),
            "connector": q_former,
            "backbone": OPT_2_7B,
            "tokenizer": tokenizer(OPT_2_7B, "<pad>"),
            "template": {"document": {"end": "\n"}, "after_image": "</s>"},
            "context": 128,
            "overflow": "truncate",
        },
        "stages": [
            stage("represent", 250_000, 84, objective="blip2-stage-1"),
            stage("generate", 80_000, 98, final_lr=0.5, edits=[WITHOUT_TEXT]),
        ],
    })  # fmt: skip


@recipe
def blip2_mini() -> Recipe:
    """BLIP-2's two stages on FactorWorld. Its language model has looked through the Q-Former, in `speak` between them,
    before it rests: one that has only read learns too little of features in minutes."""
    represent = Stage.from_dict({
        "name": "represent", "data": [{"source": world(style="short").to_dict()}], "trainable": ["connector"],
        "objective": {"type": "blip2-stage-1", "same_texts": True}, "steps": 150, "lr": 1e-4, "warmup": 20,
        "betas": (0.9, 0.98), "rows": 2,
    })  # fmt: skip
    speak = Stage.from_dict({**mini.instruct(4400).to_dict(), "name": "speak", "edits": [WITHOUT_TEXT]})
    generate = mini.instruct(300).model_copy(update={"name": "generate", "trainable": ("connector",)})
    return mini.miniature(
        "blip2-mini",
        "BLIP-2's structure on FactorWorld",
        mini.PLACES,
        "connector={type: q-former, queries: 16, width: 96, cross_every: 1, media_norm: true, text: true}",
        "connector.joint_dim=96",
        stages=(mini.see(), represent, speak, generate),
    )
