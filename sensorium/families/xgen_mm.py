"""xGen-MM (BLIP-3, 2408.08872) as its authors released it in 2024: r-v1 and r-v1.5.

Their text is read and written with three tokens beside Phi-3's own rows, and their tiles as strips; r-v1's resampler
reads what is asked and is not kept from padding. All of that are options of our parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import Folder
from sensorium.families.language import LANGUAGE_LEFT, context_of, language_backbone
from sensorium.families.llava_original import CURIOUS
from sensorium.families.pixels import normalisation
from sensorium.families.resampler import resampler, resampler_rules
from sensorium.families.rules import Left, Rule, Table, prefixes
from sensorium.families.sizes import count_of, shape_of, whole
from sensorium.families.templates import published_template
from sensorium.model import ModelConfig
from sensorium.template import ChatTemplate, Turn

LANGUAGE, RESAMPLER, VISION = "vlm.lang_model.", "vlm.vision_tokenizer.", "vlm.vision_encoder."
EXTRA = f"{LANGUAGE}model.embed_tokens.additional_embedding.weight"
TOKENS = ("<pad>", "<image>", "<image placeholder>", "<|endofchunk|>")
"""What the released code adds to Phi-3's tokenizer, in this order: the first if it is not there, the others always."""
CANVASES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""The canvases of the released code, as (columns, rows) of tiles."""
HEADS = 96
"""The width of the resampler's heads."""


class XGenMM(Family):
    what = "xGen-MM r-v1.5 as its authors' code saves it"
    model_types = ("xgenmm",)
    head_width = 72
    """of so400m/14, by which heads are counted: no tensor tells their number"""

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, where = folder.settings, str(folder.path)
        tensors, text = folder.tensors(), dict(settings.get("text_config") or {})
        sampling = settings.get("vision_encoder_config") or {}
        if (known := text.pop("initial_tokenizer_len", None)) is None:
            raise ConfigError(f"{where}/config.json: text_config has no initial_tokenizer_len; fetch the file again")
        if not sampling.get("anyres_patch_sampling", True):
            raise ConfigError(f"{where}/config.json: anyres_patch_sampling is false; only tile by tile is read")
        backbone = language_backbone({"model_type": "phi3", **text}, where)
        apart = {"known": known, "new": shape_of(tensors, EXTRA, where)[0]}
        encoder = self.encoder(tensors, where)
        return {
            "encoder": encoder,
            "tiling": {
                "type": "grid", "canvases": self.canvases(sampling, encoder, where), "thumbnail": "stretch",
                "always_thumbnail": True, "fill": (0, 0, 0),
            },
            "connector": self.connector(tensors, settings.get("vision_tokenizer_config") or {}, where),
            "assembly": self.assembly(),
            "backbone": {**backbone, "apart": apart, "output_bias": f"{LANGUAGE}lm_head.bias" in tensors},
            "head": {"type": "token", "apart": apart},
            "tokenizer": {"type": "hf", "path": where, "specials": TOKENS},
            "template": _template(folder).to_dict(),
            "context": context_of(backbone["architecture"]),
        }  # fmt: skip

    def encoder(self, tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
        patches = f"{VISION}embeddings.patch_embedding.weight"
        width, _, patch, _ = shape_of(tensors, patches, where)
        places, _ = shape_of(tensors, f"{VISION}embeddings.position_embedding.weight", where)
        sizes = {
            "hidden_size": width,
            "intermediate_size": shape_of(tensors, f"{VISION}encoder.layers.0.mlp.fc1.bias", where)[0],
            "num_hidden_layers": count_of(tensors, f"{VISION}encoder.layers."),
            "num_attention_heads": whole(width, self.head_width, patches, where),
            "image_size": side_of(places, patch),
            "patch_size": patch,
            "hidden_act": "gelu_pytorch_tanh",
        }
        architecture = {"model_type": "siglip_vision_model", **sizes}
        return {"type": "hf-vision", "architecture": architecture, **normalisation({}, "siglip")}

    def canvases(self, sampling: dict[str, Any], encoder: dict[str, Any], where: str) -> list[tuple[int, int]]:
        """Rows and columns of those that the settings name in pixels, (width, height)."""
        grids, side = sampling.get("anyres_grids"), encoder["architecture"]["image_size"]
        if grids and any(pixels % side for grid in grids for pixels in grid):
            raise ConfigError(f"{where}/config.json: anyres_grids {grids} are no multiples of tiles of {side} pixels")
        return [(rows, columns) for columns, rows in [(w // side, h // side) for w, h in grids or []] or CANVASES]

    def connector(self, tensors: Mapping[str, Tensor], given: dict[str, Any], where: str) -> dict[str, Any]:
        return resampler(tensors, RESAMPLER, HEADS, where)

    def assembly(self) -> dict[str, Any]:
        return {"type": "masked-tiles", "view": "strips"}

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        language = (
            Rule(EXTRA, "backbone.new_tokens.weight"),
            Rule(f"{LANGUAGE}lm_head.additional_fc.{{}}", "head.new_tokens.{}"),
            Rule(f"{LANGUAGE}lm_head.bias", "backbone.bias"),
            Rule(f"{LANGUAGE}{{}}", "backbone.model.{}"),
        )
        vision, left = self.vision()
        return Table((*vision, *resampler_rules(RESAMPLER), *language), (*LANGUAGE_LEFT, *left))

    def vision(self) -> tuple[tuple[Rule, ...], tuple[Left, ...]]:
        """The encoder's tensors, and what of them is not loaded."""
        unread = Left(f"{VISION}head.{{}}", "SigLIP's pooling head, which gives no features")
        return prefixes({VISION: "encoder.model."}), (unread,)


class XGenMMR1(XGenMM):
    what = "xGen-MM (BLIP-3) r-v1 as its authors' code saves it"
    model_types = ("blip_3",)
    head_width = 80

    def encoder(self, tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
        """DFN's ViT-H/14 as open_clip has it; the class token is left out with what has no place."""
        patches, block = f"{VISION}conv1.weight", f"{VISION}transformer.resblocks."
        width, _, patch, _ = shape_of(tensors, patches, where)
        places, _ = shape_of(tensors, f"{VISION}positional_embedding", where)
        return {
            "type": "vit", "image_size": side_of(places - 1, patch), "patch_size": patch, "width": width,
            "depth": count_of(tensors, block), "num_heads": whole(width, self.head_width, patches, where),
            "mlp_ratio": shape_of(tensors, f"{block}0.mlp.c_fc.bias", where)[0] / width,
            "stem": "patch", "stem_bias": False, "class_token": True, "initial_norm": True,
            "activation": "quick-gelu", "norm_eps": 1e-5, **normalisation({}, "clip"),
        }  # fmt: skip

    def canvases(self, sampling: dict[str, Any], encoder: dict[str, Any], where: str) -> list[tuple[int, int]]:
        return [(rows, columns) for columns, rows in CANVASES]

    def connector(self, tensors: Mapping[str, Tensor], given: dict[str, Any], where: str) -> dict[str, Any]:
        if given.get("repeat_latents"):
            raise ConfigError(f"{where}/config.json: repeat_latents is true; our resampler has each latent once")
        found = super().connector(tensors, given, where)
        asked = f"{RESAMPLER}text_projection.0.weight" in tensors
        return {**found, "instruction_tokens": 256 if asked else 0, "placeholders": asked}

    def assembly(self) -> dict[str, Any]:
        return {**super().assembly(), "hides": False}

    def vision(self) -> tuple[tuple[Rule, ...], tuple[Left, ...]]:
        block, ours = f"{VISION}transformer.resblocks.{{}}.", "encoder.blocks.{}."
        names = {"ln_1": "attention_norm", "ln_2": "mlp_norm", "attn.out_proj": "out", "mlp.c_fc": "up",
                 "mlp.c_proj": "down"}  # fmt: skip
        rules = (
            Rule(f"{VISION}conv1.weight", "encoder.stem.weight"),
            Rule(f"{VISION}class_embedding", "encoder.class_token", lead=2),
            Rule(f"{VISION}positional_embedding", "encoder.positions", lead=1),
            *prefixes({f"{VISION}ln_pre.": "encoder.initial_norm.", f"{VISION}ln_post.": "encoder.norm."}),
            *prefixes({f"{block}{theirs}.": f"{ours}{name}." for theirs, name in names.items()}),
            Rule(f"{block}attn.in_proj_{{}}", f"{ours}qkv.{{}}"),
        )
        return rules, (Left(f"{VISION}proj", "CLIP's projection of the class token, which nothing reads"),)


def side_of(places: int, patch: int) -> int:
    """Pixels a side of a square picture that has so many patches."""
    return patch * round(places**0.5)


def _template(folder: Folder) -> ChatTemplate:
    """Phi-3's, with Vicuna's sentence and a line end behind each picture."""
    roles = {name: Turn(prefix=f"<|{name}|>\n", end="<|end|>", after="\n") for name in ("system", "user", "assistant")}
    return ChatTemplate(
        document=Turn(end=TOKENS[-1]), image=TOKENS[1], default_system=CURIOUS, after_image="\n",
        begin=published_template(folder).begin,
    ).model_copy(update=roles)  # fmt: skip


@family
def xgen_mm() -> Family:
    """xGen-MM r-v1.5."""
    return XGenMM()


@family
def xgen_mm_r1() -> Family:
    """xGen-MM r-v1."""
    return XGenMMR1()
