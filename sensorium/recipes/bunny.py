"""Bunny (2402.11530): SigLIP and small language models, tuned by low-rank adapters; two runs averaged."""

from __future__ import annotations

from typing import Any

from sensorium.encoders.encoder import Encoder
from sensorium.recipe import Recipe, recipe
from sensorium.recipes.llava import stage
from sensorium.recipes.mini import align_connector, instruct, miniature, see
from sensorium.recipes.published import LLAMA_3_8B, LLAVA_GREY, PHI_2, siglip_so400m_384, slot, tokenizer, vicuna
from sensorium.stage import Stage

LAION_2M = slot("llava", "bunny-pretrain-laion-2m", "Bunny-pretrain-LAION-2M (its .json, and images)")
BUNNY_695K = slot("llava", "bunny-695k", "Bunny-695K (bunny_695k.json and images)")
LLAVA_1_4M = slot("llava", "bunny-llava-1.4m", "Bunny-LLaVA-1.4M (its .json, and images)")
ALLAVA_1_3M = slot("llava", "bunny-allava-1.3m", "Bunny-ALLaVA-1.3M (its .json, and images)")
LLAVA_ALLAVA_2M = slot("llava", "bunny-llava-allava-2m", "Bunny-LLaVA-ALLaVA-2M (its .json, and images)")
UNFROZEN = ["encoder", "connector", "adapters"]
ATTACH = {"type": "attach-adapters", "adapters": {"type": "lora", "rank": 128, "alpha": 256, "dropout": 0.05}}


def model(language: dict[str, Any], end: str, **changes: Any) -> dict[str, Any]:
    """All 729 features of SigLIP's last layer but one, an MLP, a language model."""
    return {
        "encoder": siglip_so400m_384(feature_layer=-2),
        "tiling": {"type": "whole", "fit": "pad", "fill": LLAVA_GREY},
        "connector": "mlp",
        "backbone": language,
        "tokenizer": tokenizer(language, end),
        "template": vicuna(end=end, begin="").to_dict(),
        "context": 2048,
        "overflow": "truncate",
        **changes,
    }


def tuned(name: str, data: dict[str, Any], samples: int, lr: float, **keys: Any) -> dict[str, Any]:
    """A run of adapters on all linear maps of the language model; the projector learns a tenth as fast."""
    trainable = keys.pop("trainable", ["connector", "adapters"])
    rates = {part: lr / 10 for part in trainable if part != "adapters"}
    edits = keys.pop("edits", [ATTACH])
    return stage(name, [data], samples, 128, lr=lr, lr_of=rates, trainable=trainable, edits=edits, **keys)


def merged(name: str, data: dict[str, Any], *more: dict[str, Any], length: int = 2048) -> dict[str, Any]:
    """Folds adapters into the language model; trains nothing."""
    return {"name": name, "data": [{"source": data}], "steps": 0, "length": length, "edits": ["merge-adapters", *more]}


@recipe
def bunny() -> Recipe:
    """Bunny-v1.0-3B: SigLIP and Phi-2."""
    return Recipe.from_dict({
        "name": "bunny",
        "summary": "SigLIP and Phi-2, joined by an MLP and tuned by low-rank adapters (2402.11530)",
        "miniature": "bunny-mini",
        "model": model(PHI_2, "<|endoftext|>"),
        "stages": [
            stage("align", [LAION_2M], 2_000_000, 256, lr=5e-4, trainable=["connector"]),
            tuned("instruct", BUNNY_695K, 695_000, 2e-4),
            merged("merge", BUNNY_695K),
        ],
    })  # fmt: skip


@recipe
def bunny_8b() -> Recipe:
    """Bunny-Llama-3-8B-V: two runs of adapters from the same start, merged and averaged."""
    average = {"type": "average", "shares": {"first-merged": 0.5}}
    return Recipe.from_dict({
        "name": "bunny-8b",
        "summary": "SigLIP and Llama-3-8B, two runs of adapters averaged (Bunny-Llama-3-8B-V)",
        "miniature": "bunny-mini",
        "model": model(LLAMA_3_8B, "<|end_of_text|>"),
        "stages": [
            stage("align", [LAION_2M], 2_000_000, 256, lr=1e-3, trainable=["connector"]),
            tuned("first", BUNNY_695K, 695_000, 2e-4),
            merged("first-merged", BUNNY_695K),
            tuned("second", LLAVA_1_4M, 1_400_000, 1e-4, trainable=UNFROZEN, starts_from="align"),
            merged("mean", LLAVA_1_4M, average),
        ],
    })  # fmt: skip


@recipe
def bunny_8b_s2() -> Recipe:
    """Bunny-v1.1-Llama-3-8B-V: SigLIP at three scales of 1152 pixels (S2, 2403.13043), still 729 features a picture.
    The second run is published as its data and share alone; here it is tuned as the first."""
    wide = {**ATTACH, "adapters": {**ATTACH["adapters"], "rank": 256, "alpha": 256}}
    keys = {"edits": [wide], "trainable": UNFROZEN, "length": 4096}
    s2 = {"type": "s2", "scales": [1, 2, 3], "antialias": False, "encoder": siglip_so400m_384(feature_layer=-2)}
    average = {"type": "average", "shares": {"first-merged": 0.42}}
    return Recipe.from_dict({
        "name": "bunny-8b-s2",
        "summary": "SigLIP at three scales and Llama-3-8B, two runs averaged (Bunny-v1.1-Llama-3-8B-V)",
        "miniature": "bunny-s2-mini",
        "model": model(LLAMA_3_8B, "<|end_of_text|>", encoder=s2, context=4096),
        "stages": [
            stage("align", [LAION_2M], 2_000_000, 256, lr=1e-3, trainable=["connector"], length=4096),
            tuned("first", ALLAVA_1_3M, 1_300_000, 1e-4, **{**keys, "trainable": ["connector", "adapters"]}),
            merged("first-merged", ALLAVA_1_3M, length=4096),
            tuned("second", LLAVA_ALLAVA_2M, 2_000_000, 1e-4, starts_from="align", **keys),
            merged("mean", LLAVA_ALLAVA_2M, average, length=4096),
        ],
    })  # fmt: skip


@recipe
def bunny_s2_mini() -> Recipe:
    """`bunny-mini` with an encoder of half the side, at two scales: as many features a picture, twice as wide."""
    small = bunny_mini()
    half = {**small.model.encoder.to_dict(), "image_size": 32, "patch_size": 8}
    encoder = Encoder.Config.model_validate({"type": "s2", "encoder": half})
    model = small.model.model_copy(update={"encoder": encoder})
    summary = "Bunny's structure on FactorWorld, its encoder at two scales"
    return small.model_copy(update={"name": "bunny-s2-mini", "summary": summary, "model": model})


@recipe
def bunny_mini() -> Recipe:
    """Bunny's two runs on FactorWorld, after stages that stand for SigLIP and a language model."""
    lora = {"type": "attach-adapters", "adapters": {"type": "lora", "rank": 16, "alpha": 32}}

    def run(name: str, lr: float, **keys: Any) -> Stage:
        parts = keys.pop("trainable", ["connector", "adapters"])
        changed = {"name": name, "muon_lr": None, "lr": lr, "trainable": parts, "edits": [lora], **keys}
        return Stage.from_dict({**instruct(steps=400).to_dict(), **changed})

    def merge(name: str, *more: dict[str, Any]) -> Stage:
        return Stage.from_dict({**instruct(steps=0).to_dict(), "name": name, "edits": ["merge-adapters", *more]})

    average = {"type": "average", "shares": {"first-merged": 0.5}}
    stages = (
        see(),
        instruct(steps=2800).model_copy(update={"name": "speak"}),
        align_connector(),
        run("first", 2e-3),
        merge("first-merged"),
        run("second", 1e-3, starts_from="align", trainable=UNFROZEN, lr_of={"encoder": 2e-5}),
        merge("mean", average),
    )
    return miniature("bunny-mini", "Bunny's structure on FactorWorld", "connector=mlp", stages=stages)
