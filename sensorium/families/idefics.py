"""Idefics (2306.16527) as `transformers` has it: an open relative of Flamingo, over Llama's layers."""

from __future__ import annotations

from typing import Any

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.language import BOOKKEEPING
from sensorium.families.pixels import normalisation, pixels_of
from sensorium.families.rules import DERIVED, Rule, Table, prefixes
from sensorium.families.templates import IMAGE, token_of
from sensorium.interop.pretrained import make_config
from sensorium.model import ModelConfig
from sensorium.template import ChatTemplate, Turn

AROUND, UTTERANCE = "<fake_token_around_image>", "<end_of_utterance>"
LLAMA = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "rms_norm_eps",
         "max_position_embeddings", "tie_word_embeddings", "rope_parameters", "pad_token_id", "bos_token_id",
         "eos_token_id")  # fmt: skip
"""Keys that mean the same in the config of a Llama."""
VISION = ("image_size", "patch_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
          "layer_norm_eps")  # fmt: skip
OUTSIDE = {
    "model.layers.": "backbone.model.model.layers.",
    "model.norm.": "backbone.model.model.norm.",
    "model.vision_model.": "encoder.model.",
    "model.perceiver_resampler.layer_norm.": "connector.norm.",
}
BLOCK = {
    "input_layernorm": "norm", "cross_attn.q_proj": "to_q", "cross_attn.o_proj": "to_out",
    "cross_attn.q_layer_norm": "q_norm", "cross_attn.k_layer_norm": "k_norm",
    "post_attention_layernorm": "feed_forward.0", "mlp.gate_proj": "feed_forward.1.gate",
    "mlp.up_proj": "feed_forward.1.up", "mlp.down_proj": "feed_forward.1.down",
}  # fmt: skip
LAYER = {
    "0.context_layer_norm": "media_norm", "0.latents_layer_norm": "latent_norm", "0.q_proj": "to_q",
    "0.output_proj": "to_out", "0.q_layer_norm": "q_norm", "0.k_layer_norm": "k_norm",
    "1.ln": "feed_forward.0", "1.fc": "feed_forward.1", "1.c_proj": "feed_forward.3",
}  # fmt: skip
"""Of a layer of the resampler."""


class Idefics(Family):
    what = "IdeficsForVisionText2Text of transformers: Idefics, the first"
    model_types = ("idefics",)

    def config(self, folder: Folder) -> dict[str, Any]:
        plain = {key: value for key, value in folder.settings.items() if key not in BOOKKEEPING}
        settings, where = make_config(plain, str(folder.path)), str(folder.path)
        _check(settings, where)
        vision, pixels = settings.vision_config, normalisation(pixels_of(folder), "clip")
        tower = {"model_type": "clip_vision_model", "hidden_size": vision.embed_dim}
        tower |= {key: getattr(vision, key) for key in VISION}
        language = {"model_type": "llama", "vocab_size": settings.vocab_size + settings.additional_vocab_size}
        language |= {key: getattr(settings, key) for key in LLAMA}
        return {
            "encoder": {"type": "hf-vision", "architecture": tower, "drop_class_token": False, **pixels},
            "connector": _resampler(settings),
            "fusion": {
                "type": "cross-attention",
                "every": settings.cross_layer_interval,
                "before": "first",
                "num_heads": settings.num_attention_heads,
                "head_dim": settings.hidden_size // settings.num_attention_heads,
                "gated_width": settings.intermediate_size,
                "gates": {"float": "scalar"}.get(settings.alpha_type, settings.alpha_type),
                "norms": "rms",
                "norm_eps": settings.rms_norm_eps,
                "qk_norm": settings.qk_layer_norms,
                "only_pictured": False,
            },
            "backbone": {"type": "hf", "architecture": language},
            "tokenizer": {"type": "hf", "path": where},
            "template": _template(folder).to_dict(),
            "context": settings.max_position_embeddings,
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        """Words that were added lie apart there, behind those of Llama."""
        added = 2 if folder is not None and folder.settings.get("additional_vocab_size") else 1
        words = {"model.embed_tokens.": "backbone.model.model.embed_tokens.", "lm_head.": "backbone.model.lm_head."}
        apart = {"model.embed_tokens.": "additional_embedding.", "lm_head.": "additional_fc."}
        block, layer = "model.gated_cross_attn_layers.{}", "model.perceiver_resampler.blocks.{}"
        gates = {"alpha_cross_attn": "attention_gate", "alpha_dense": "feed_forward_gate"}
        lead = -2 if getattr(config.fusion, "gates", "") == "vector" else 0
        return Table(
            (
                *(Rule(f"{a}weight", f"{b}weight", place=(0, added)) for a, b in words.items()),
                *(Rule(f"{a}{apart[a]}weight", f"{b}weight", place=(1, added)) for a, b in words.items()),
                *(Rule(f"{block}.{a}", f"fusion.blocks.{{}}.{b}", lead=lead) for a, b in gates.items()),
                *(Rule(f"{block}.{a}.{{}}", f"fusion.blocks.{{}}.{b}.{{}}") for a, b in BLOCK.items()),
                *_keys_values(f"{block}.cross_attn", "fusion.blocks.{}"),
                Rule("model.perceiver_resampler.latents", "connector.latents"),
                *(Rule(f"{layer}.{a}.{{}}", f"connector.layers.{{}}.{b}.{{}}") for a, b in LAYER.items()),
                *_keys_values(f"{layer}.0", "connector.layers.{}"),
                *prefixes(OUTSIDE),
            ),
            DERIVED,
        )


def _keys_values(theirs: str, ours: str) -> tuple[Rule, ...]:
    return tuple(Rule(f"{theirs}.{x}_proj.weight", f"{ours}.to_kv.weight", place=(i, 2)) for i, x in enumerate("kv"))


def _resampler(settings: Any) -> Any:
    if not settings.use_resampler:
        return "identity"
    given = settings.perceiver_config
    return {
        "type": "perceiver",
        "latents": given.resampler_n_latents,
        "depth": given.resampler_depth,
        "num_heads": given.resampler_n_heads,
        "head_dim": given.resampler_head_dim,
        "activation": "relu",
        "qk_norm": given.qk_layer_norms_perceiver,
        "projection": False,
    }


def _template(folder: Folder) -> ChatTemplate:
    """`User:`, a picture between its marks, the question, and on the next line `Assistant:`. Turns end with
    `<end_of_utterance>` if the tokenizer knows it, as the instructed ones' does; otherwise with the line."""
    settings = folder.json("tokenizer_config.json")
    begin, end = token_of(settings, "bos_token"), token_of(settings, "eos_token") or "</s>"
    user, assistant = Turn(prefix="User:", after="\n"), Turn(prefix="Assistant:", end="\n")
    if UTTERANCE in folder.text("tokenizer.json"):
        user, assistant = (turn.model_copy(update={"end": UTTERANCE, "after": "\n"}) for turn in (user, assistant))
    return ChatTemplate(
        document=Turn(prefix=begin, end=end), system=Turn(after="\n"), user=user, assistant=assistant,
        image=IMAGE, before_image=AROUND, after_image=AROUND, begin=begin,
    )  # fmt: skip


def _check(settings: Any, where: str) -> None:
    if settings.hidden_act != "silu":
        raise ConfigError(f"{where}: hidden_act is '{settings.hidden_act}'; our gated feed-forwards have 'silu'")
    if settings.alpha_type not in ("float", "vector"):
        raise ConfigError(f"{where}: alpha_type is '{settings.alpha_type}', neither 'float' nor 'vector'")
    if settings.num_hidden_layers % settings.cross_layer_interval:
        raise ConfigError(
            f"{where}: cross_layer_interval {settings.cross_layer_interval} does not divide the "
            f"{settings.num_hidden_layers} layers, which the class of transformers cannot run either"
        )


@family
def idefics_hf() -> Family:
    """Idefics in the layout of transformers."""
    return Idefics()
