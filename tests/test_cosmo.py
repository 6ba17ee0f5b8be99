"""CosMo: a language model whose lower half reads text alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sensorium.data.batch import collate
from sensorium.model import compose
from sensorium.recipe import find_recipe


def test_embeddings_of_texts_know_nothing_of_pictures() -> None:
    recipe = find_recipe("cosmo-mini", "model.tokenizer.samples=50")
    torch.manual_seed(0)
    model: Any = compose(recipe.model).eval()
    source = recipe.stages[2].data[-1].source.build()
    batch = collate([[model.layout(source[i]) for i in range(3)]], model.layout)
    other = replace(batch, tiles=255 - batch.tiles)
    with torch.no_grad():
        plain, blank = model(batch), model(other)
        assert torch.equal(plain, blank), "with gates at zero it is the plain language model"
        for block in model.fusion.blocks:
            block.attention_gate.fill_(1.0)
        (before, seen, texts), (after, changed, same) = model.embed_batch(batch), model.embed_batch(other)
    assert torch.equal(texts.vectors, same.vectors)
    assert not torch.allclose(seen.vectors, changed.vectors)
    assert not torch.allclose(before, after), "the upper half looks"


def test_gates_stand_in_the_upper_half() -> None:
    config = find_recipe("cosmo").model
    with torch.device("meta"):
        backbone = config.backbone.build(vocab_size=50272)
        fusion: Any = config.fusion.build(dim=config.backbone.dim, media_dim=config.media_dim)
        fusion.attach(backbone)
    hooked = [number for number, layer in enumerate(backbone.layers) if layer._forward_pre_hooks]
    assert hooked == [13, 15, 17, 19, 21, 23]
    assert fusion.blocks[0].to_q.weight.shape == (1024, 2048)
