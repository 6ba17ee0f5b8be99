"""InfiMM-HD (2403.01487) as its authors' code saves it: the whole model under the keys of their Flamingo.

The released code reads one tile of a picture and the last block of EVA2-CLIP-E, the paper several tiles and the last
but one; imported is what was released.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.families.family import Family, family
from sensorium.families.folder import WEIGHTS, Folder
from sensorium.families.gated import again, gated, gated_rules, stack
from sensorium.families.language import LANGUAGE_LEFT, context_of, language_backbone
from sensorium.families.llava import conversation
from sensorium.families.llava_original import CURIOUS
from sensorium.families.pixels import background, normalisation
from sensorium.families.rules import Rule, Table, fixed, prefixes
from sensorium.families.sizes import count_of, shape_of, whole
from sensorium.model import ModelConfig
from sensorium.template import Turn

CHUNK, IMAGE = "<|endofchunk|>", "<image>"
LANGUAGE, VISION = "lang_encoder.", "vision_encoder."
OWN_KEYS = ("visual", "language", "cross_attn_every_n_layers")
"""Of the model's settings, by which they are told from others'."""
OTHER = ("rope", "subln", "naiveswiglu", "ls_init_value", "global_average_pool", "intp_freq")
"""Of the vision tower's settings, what other EVAs have and this one does not."""


class InfiMMHD(Family):
    what = "InfiMM-HD as its authors' code saves it, with its settings as config.json"
    files = (*WEIGHTS, "vite_vicuna13b_bf16.ckpt", "vite_vicuna7b_bf16.ckpt")

    def recognises(self, folder: Folder) -> bool:
        return all(key in folder.settings for key in OWN_KEYS)

    def config(self, folder: Folder) -> dict[str, Any]:
        settings, where = folder.settings, str(folder.path)
        tensors = folder.tensors(*self.files)
        layers, numbers = stack(tensors, LANGUAGE, where)
        fusion = gated(tensors, layers, numbers, where)
        if (every := settings["cross_attn_every_n_layers"]) != fusion["every"]:
            raise ConfigError(
                f"{where}: cross_attn_every_n_layers is {every} and the first block stands before layer {numbers[0]}"
            )
        backbone = language_backbone(settings["language"], where)
        encoder = _encoder(tensors, settings["visual"], where)
        template = conversation(folder, CURIOUS).model_copy(
            update={
                "document": Turn(end=CHUNK), "assistant": Turn(prefix="ASSISTANT:", end=CHUNK, after=" "),
                "after_image": "",
            }
        )  # fmt: skip
        return {
            "encoder": encoder,
            "tiling": {"type": "whole", "fit": "pad", "fill": background(encoder["mean"])},
            "connector": "identity",
            "assembly": "tiles",
            "fusion": fusion,
            "backbone": backbone,
            "tokenizer": {"type": "hf", "path": where, "specials": (CHUNK, IMAGE)},
            "template": template.to_dict(),
            "context": context_of(backbone["architecture"]),
        }

    def table(self, config: ModelConfig, folder: Folder | None = None) -> Table:
        assert folder is not None
        layers, numbers = stack(folder.tensors(*self.files), LANGUAGE, str(folder.path))
        block, ours = f"{VISION}blocks.{{}}.", "encoder.blocks.{}."
        names = {"norm1": "attention_norm", "norm2": "mlp_norm", "attn.proj": "out", "mlp.fc1": "up", "mlp.fc2": "down"}
        vision = (
            Rule(f"{VISION}cls_token", "encoder.class_token"),
            Rule(f"{VISION}pos_embed", "encoder.positions"),
            *prefixes({f"{VISION}patch_embed.proj.": "encoder.stem."}),
            *prefixes({f"{block}{theirs}.": f"{ours}{name}." for theirs, name in names.items()}),
            Rule(f"{block}attn.qkv.weight", f"{ours}qkv.weight"),
            *(Rule(f"{block}attn.{n}_bias", f"{ours}qkv.bias", place=(i, 3), blank=(1,)) for n, i in BIASES.items()),
        )
        unread = fixed((f"{VISION}norm.{{}}", f"{VISION}head.{{}}"), "of CLIP's class token, which nothing reads alone")
        return Table((*vision, *gated_rules(LANGUAGE, layers, numbers)), (*LANGUAGE_LEFT, *again(LANGUAGE), *unread))


BIASES = {"q": 0, "v": 2}
"""Keys have none."""


def _encoder(tensors: Mapping[str, Tensor], given: dict[str, Any], where: str) -> dict[str, Any]:
    if found := [key for key in OTHER if given.get(key)]:
        raise ConfigError(f"{where}: visual.{found[0]} is set, which is not EVA2-CLIP-E's")
    patches = f"{VISION}patch_embed.proj.weight"
    width, _, patch, _ = shape_of(tensors, patches, where)
    _, places, _ = shape_of(tensors, f"{VISION}pos_embed", where)
    return {
        "type": "vit",
        "image_size": patch * round((places - 1) ** 0.5),
        "patch_size": patch,
        "width": width,
        "depth": count_of(tensors, f"{VISION}blocks."),
        "num_heads": whole(width, given["head_width"], patches, where),
        "mlp_ratio": shape_of(tensors, f"{VISION}blocks.0.mlp.fc1.bias", where)[0] / width,
        "stem": "patch",
        "class_token": True,
        "block_norm": "after" if given.get("postnorm") else "before",
        "final_norm": False,
        **normalisation({}, "clip"),
    }


@family
def infimm_hd() -> Family:
    """InfiMM-HD."""
    return InfiMMHD()
