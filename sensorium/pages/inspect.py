"""What a model would see, before any training: tiles, tokens, labels, packing, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sensorium.layout import Layout
from sensorium.pages import charts, formats
from sensorium.pages.html import Html, page, section, table, tag, write_page
from sensorium.pages.laid import legend, sample_card
from sensorium.pages.pack_map import pack_map
from sensorium.pages.survey import Survey, survey
from sensorium.recipe import Recipe


def write_inspection(recipe: Recipe, file: str | Path, packs: int = 2, mapped: int = 24) -> Path:
    """Write a page on what each stage of the recipe feeds the model: `packs` packs token by token, `mapped` packs as
    a map. It makes the tokenizer and reads data, but builds no weights and trains nothing."""
    layout = make_layout(recipe)
    stages = [
        _stage(number, survey(recipe, number, layout, max(packs, mapped)), recipe, layout, packs)
        for number in range(len(recipe.stages))
    ]
    return write_page(file, page(f"{recipe.name} – what the model sees", _head(recipe, layout), *stages))


def make_layout(recipe: Recipe) -> Layout:
    """The recipe's layout with a tokenizer made as training would make it."""
    config = recipe.model.resolved()
    return config.layout(config.make_tokenizer())


def _head(recipe: Recipe, layout: Layout) -> Html:
    width, height = layout.tiling.input_size
    rate = layout.tiling.config.rate
    tile = f"{width} × {height} pixels" if rate is None else f"{width / rate:g} s"
    facts = {
        "context": f"{layout.context:,} tokens",
        "a tile": f"{tile}, {layout.media.tile.tokens} tokens",
        "tiling": recipe.model.tiling.type_name,
        "vocabulary": f"{layout.tokenizer.vocab_size:,}",
        "longer samples": {"refuse": "refused", "truncate": "truncated"}[layout.overflow],
    }
    items = [tag("li", tag("span", what), " ", tag("b", number)) for what, number in facts.items()]
    blind = "This is the text-only twin: all pictures are withheld." if recipe.blind else ""
    return tag(
        "header",
        tag("div", "Sensorium inspection", class_="brand"),
        tag("h1", f"What {recipe.name} sees"),
        tag("p", f"{recipe.summary}. {blind}" if blind else recipe.summary, class_="lead"),
        tag("ul", *items, class_="facts"),
    )


def _stage(number: int, seen: Survey, recipe: Recipe, layout: Layout, packs: int) -> Html:
    stage = seen.stage
    facts = {
        "steps": f"{stage.steps:,}",
        "a step": f"{stage.rows} rows × {stage.length} tokens",
        "objective": stage.objective.type_name,
        "trained": ", ".join(stage.trainable),
        "peak learning rate": f"{stage.lr:g}",
    }
    if stage.edits:
        facts["first"] = ", ".join(edit.type_name for edit in stage.edits)
    line = tag("div", *(tag("span", what, " ", tag("b", value)) for what, value in facts.items()), class_="stage")
    cards = [
        (
            tag("h3", f"Pack {n}: {len(pack)} samples, {sum(map(len, pack))} of {stage.length} tokens"),
            *(sample_card(laid, layout, seen.source_of(laid)) for laid in pack),
        )
        for n, pack in enumerate(seen.packs[:packs], 1)
    ]
    return section(
        f"Stage {number}: {stage.name}",
        line,
        tag("p", f"A run would stop here: {seen.stopped}", class_="banner") if seen.stopped else None,
        _sources(seen),
        tag("div", pack_map(seen), tag("div", _figures(seen), _lengths(seen), class_="stack"), class_="charts two"),
        _lengths_by_source(seen),
        _refused(seen),
        tag("h3", "Token by token"),
        legend(),
        *cards,
    )


def _sources(seen: Survey) -> Html:
    shares = seen.shares()
    total = sum(share.get("tokens", 0) for _, share in shares) or 1
    weight = sum(share.weight for share in seen.stage.data)
    refused = Counter(bad.source for bad in seen.refused)
    rows = []
    for (label, share), entry in zip(shares, seen.stage.data, strict=True):
        tokens, samples = share.get("tokens", 0), share.get("samples", 0)
        bar = tag(
            "div",
            tag("i", class_="fill", style=f"width:{100 * tokens / total:.1f}%"),
            class_="meter",
            style="min-width:6rem",
        )
        of_tokens = [f"{100 * share.get(key, 0) / (tokens or 1):.0f} %" for key in ("media", "supervised")]
        rows.append([label, f"{100 * entry.weight / weight:.0f} %", f"{samples:,}", f"{tokens / (samples or 1):.0f}",
                     bar, f"{100 * tokens / total:.1f} %", *of_tokens, f"{refused[label]:,}"])  # fmt: skip
    head = ("source", "weight", "drawn", "mean length", "", "of tokens", "pictures", "supervised", "refused")
    return table(head, rows)


def _figures(seen: Survey) -> Html:
    samples, tokens = sum(map(len, seen.packs)), seen.tokens or 1
    laid = [one for pack in seen.packs for one in pack]
    media, supervised = sum(s.length for one in laid for s in one.spans), sum(int(one.supervised.sum()) for one in laid)
    facts = {
        "of the rows are filled": f"{100 * seen.efficiency:.1f} %",
        "samples in a row": f"{samples / (len(seen.packs) or 1):.1f}",
        "of tokens are pictures": f"{100 * media / tokens:.0f} %",
        "of tokens are supervised": f"{100 * supervised / tokens:.0f} %",
    }
    items = [tag("li", tag("b", number), " ", tag("span", what)) for what, number in facts.items()]
    return tag("div", tag("ul", *items, class_="facts", style="margin:0;flex-direction:column"), class_="card")


def _lengths(seen: Survey) -> Html:
    return _histogram([len(laid) for _, laid in seen.drawn], seen, "")


def _lengths_by_source(seen: Survey) -> Html | None:
    """A histogram for each source of several, on one scale."""
    if len(seen.labels) < 2:
        return None
    lengths: list[list[int]] = [[] for _ in seen.labels]
    for number, laid in seen.drawn:
        lengths[number].append(len(laid))
    drawn = (_histogram(own, seen, f" of {label}") for own, label in zip(lengths, seen.labels, strict=True))
    return tag("div", *drawn, class_="charts", style="margin-top:1rem")


def _histogram(lengths: Sequence[int], seen: Survey, of: str, bars: int = 20) -> Html:
    if not lengths:
        return Html()
    every = [len(laid) for _, laid in seen.drawn]
    low, high = min(every), max(every) + 1
    width = max(1, -(-(high - low) // bars))
    edges = list(range(low, high + width, width))
    counts = [sum(edge <= length < edge + width for length in lengths) for edge in edges[:-1]]
    return charts.histogram(counts, edges, f"Length of {formats.amount(len(lengths))} samples{of}")


def _refused(seen: Survey, shown: int = 3, most: int = 200) -> Html:
    """What would be quarantined, by reason, and each of it."""
    if not seen.refused:
        return tag("p", "No sample was refused.", class_="note", style="margin-top:1rem")
    kinds = seen.reasons()
    rows = []
    for kind in kinds:
        places = [bad.place for bad in kind[:shown]] + ["…"] * (len(kind) > shown)
        sources = ", ".join(dict.fromkeys(bad.source for bad in kind))
        rows.append([f"{len(kind):,}", sources, ", ".join(places), kind[0].reason])
    each = [[bad.source, bad.place, bad.reason] for bad in list(seen.refused)[:most]]
    reasons = "1 reason" if len(kinds) == 1 else f"{len(kinds)} reasons"
    return tag(
        "div",
        tag("h3", f"{len(seen.refused)} samples would be quarantined, for {reasons}"),
        table(("samples", "source", "which", "reason, of the first"), rows),
        tag("details", tag("summary", "each of them"), table(("source", "sample", "reason"), each)),
    )
