"""Encoders, language models, chat formats and data of published systems: what their recipes share.

Architectures are given by their dimensions, so that a recipe can be printed, checked on the meta device and counted
without any file; `path` names where the weights lie, a folder that the user fetches. Data are named folders.
"""

from __future__ import annotations

from typing import Any

from sensorium.interop.means import CLIP_MEAN, CLIP_STD, HALF
from sensorium.template import ChatTemplate, Turn

LLAVA_GREY = (122, 116, 104)
"""CLIP's mean colour, with which LLaVA-1.5 pads pictures to squares."""


def clip_l_336(**changes: Any) -> dict[str, Any]:
    """CLIP ViT-L/14 at 336 pixels, its last layer but one and no class token, as LLaVA-1.5 reads it (2310.03744)."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
             "image_size": 336, "patch_size": 14, "projection_dim": 768, "hidden_act": "quick_gelu"}  # fmt: skip
    return {
        "type": "hf-vision", "path": "openai/clip-vit-large-patch14-336", "feature_layer": -2,
        "architecture": {"model_type": "clip_vision_model", **sizes}, "mean": CLIP_MEAN, "std": CLIP_STD, **changes,
    }  # fmt: skip


def clip_l_224(**changes: Any) -> dict[str, Any]:
    """CLIP ViT-L/14 at 224 pixels."""
    found = clip_l_336(path="openai/clip-vit-large-patch14", **changes)
    return {**found, "architecture": {**found["architecture"], "image_size": 224}}


def siglip_so400m_384(**changes: Any) -> dict[str, Any]:
    """SigLIP so400m/14 at 384 pixels (2303.15343): 27 x 27 features of 1152."""
    sizes = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
             "image_size": 384, "patch_size": 14, "hidden_act": "gelu_pytorch_tanh"}  # fmt: skip
    return {
        "type": "hf-vision", "path": "google/siglip-so400m-patch14-384",
        "architecture": {"model_type": "siglip_vision_model", **sizes}, "mean": HALF, "std": HALF, **changes,
    }  # fmt: skip


def dfn_h_378(**changes: Any) -> dict[str, Any]:
    """DFN's ViT-H/14 at 378 pixels (2309.17425): a class token and 27 x 27 features of 1280, behind the last norm."""
    return {
        "type": "vit", "image_size": 378, "patch_size": 14, "width": 1280, "depth": 32, "num_heads": 16,
        "stem": "patch", "stem_bias": False, "class_token": True, "initial_norm": True,
        "activation": "quick-gelu", "norm_eps": 1e-5, "mean": CLIP_MEAN, "std": CLIP_STD, **changes,
    }  # fmt: skip


def eva_g_224(**changes: Any) -> dict[str, Any]:
    """EVA-CLIP-g at 224 pixels without its last layer, as BLIP-2 reads it (2301.12597): 257 features of 1408."""
    sizes = {"hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16,
             "image_size": 224, "patch_size": 14, "hidden_act": "gelu"}  # fmt: skip
    return {
        "type": "hf-vision", "path": "Salesforce/blip2-opt-2.7b", "drop_class_token": False,
        "architecture": {"model_type": "blip_2_vision_model", **sizes}, "mean": CLIP_MEAN, "std": CLIP_STD, **changes,
    }  # fmt: skip


def language_model(path: str, kind: str, width: int, mlp: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    """A causal model of transformers by its dimensions; `more` are further keys of its config."""
    sizes = {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {"type": "hf", "path": path, "architecture": {"model_type": kind, **sizes, **more}}


VICUNA_7B = language_model("lmsys/vicuna-7b-v1.5", "llama", 4096, 11008, 32, 32, vocab_size=32000, rms_norm_eps=1e-5)
PHI_2 = language_model(
    "microsoft/phi-2", "phi", 2560, 10240, 32, 32, vocab_size=51200, partial_rotary_factor=0.4, hidden_act="gelu_new"
)
OPT_2_7B = language_model(
    "facebook/opt-2.7b", "opt", 2560, 10240, 32, 32, ffn_dim=10240, word_embed_proj_dim=2560, vocab_size=50272,
    max_position_embeddings=2048,
)  # fmt: skip
PHI_3_MINI = language_model(
    "microsoft/Phi-3-mini-4k-instruct", "phi3", 3072, 8192, 32, 32, vocab_size=32064, rms_norm_eps=1e-5,
    sliding_window=2047, pad_token_id=32000,
)  # fmt: skip
LLAMA_3_8B = language_model(
    "meta-llama/Meta-Llama-3-8B-Instruct", "llama", 4096, 14336, 32, 32, num_key_value_heads=8, vocab_size=128256,
    rms_norm_eps=1e-5, rope_theta=500000.0,
)  # fmt: skip
QWEN_2_5_1_5B = language_model(
    "Qwen/Qwen2.5-1.5B-Instruct", "qwen2", 1536, 8960, 28, 12, num_key_value_heads=2, vocab_size=151936,
    rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
)  # fmt: skip


def tokenizer(model: dict[str, Any], pad_token: str) -> dict[str, Any]:
    """The tokenizer that lies beside a language model."""
    return {"type": "hf", "path": model["path"], "pad_token": pad_token}


CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""What opens Vicuna's conversations; its literal text is part of the format."""


def vicuna(end: str = "</s>", begin: str = "<s>", **changes: Any) -> ChatTemplate:
    """The format of LLaVA-1.5 and Bunny: `SYSTEM USER: question ASSISTANT: answer</s>`."""
    return ChatTemplate(
        document=Turn(end=end),
        system=Turn(after=" "),
        user=Turn(prefix="USER: ", after=" "),
        assistant=Turn(prefix="ASSISTANT:", end=end),
        image="<image>", begin=begin, default_system=CURIOUS, after_image="\n",
    ).model_copy(update=changes)  # fmt: skip


def phi_3(**changes: Any) -> ChatTemplate:
    """The format of xGen-MM (core of its released code): Phi-3's, with Vicuna's sentence."""
    roles = {name: Turn(prefix=f"<|{name}|>\n", end="<|end|>", after="\n") for name in ("system", "user", "assistant")}
    return ChatTemplate(
        document=Turn(end="<|endofchunk|>"), image="<image>", default_system=CURIOUS, after_image="\n"
    ).model_copy(update={**roles, **changes})


def slot(kind: str, folder: str, what: str, **keys: Any) -> dict[str, Any]:
    """A source whose folder the user brings: `folder` below the recipe's `data`, holding `what`."""
    return {"type": kind, "folder": folder, "hint": f"put {what} there, as docs/data.md#{kind} describes", **keys}


def shares(*slots: tuple[float, dict[str, Any]], by: str = "weight") -> list[dict[str, Any]]:
    """Sources with their weights, or with their `loss_weight`."""
    return [{"source": source, by: weight} for weight, source in slots]
