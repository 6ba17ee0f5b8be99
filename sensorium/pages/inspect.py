"""What a model would see, before any training: tiles, tokens, labels, packing, and what is refused."""

from __future__ import annotations

from pathlib import Path

from sensorium.laid_out import LaidOut
from sensorium.layout import Layout
from sensorium.pages import charts, formats
from sensorium.pages.html import Html, page, section, table, tag, write_page
from sensorium.pages.laid import legend, sample_card
from sensorium.pages.survey import Survey, survey
from sensorium.recipe import Recipe

PALETTE = 8


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
    facts = {
        "context": f"{layout.context:,} tokens",
        "a tile": f"{width} × {height} pixels, {layout.media.tile.tokens} tokens",
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
        tag("div", _map(seen), tag("div", _figures(seen), _lengths(seen), class_="stack"), class_="charts two"),
        _refused(seen),
        tag("h3", "Token by token"),
        legend(),
        *cards,
    )


def _sources(seen: Survey) -> Html:
    shares = seen.shares()
    total = sum(share.get("tokens", 0) for _, share in shares) or 1
    weight = sum(share.weight for share in seen.stage.data)
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
                     bar, f"{100 * tokens / total:.1f} %", *of_tokens])  # fmt: skip
    head = ("source", "of samples (weights)", "drawn", "mean length", "", "of tokens", "pictures", "supervised")
    return table(head, rows)


def _map(seen: Survey) -> Html:
    """Packs as bars, samples in turning colours, picture tokens darker, padding left blank."""
    row, length = 13, seen.stage.length
    drawn: list[Html] = []
    for line, pack in enumerate(seen.packs):
        drawn.append(_rectangle(0, length, line * row, "faint", f"{length - sum(map(len, pack))} tokens of padding"))
        start = 0
        for number, laid in enumerate(pack):
            drawn += _bar(laid, start, line * row, (line + number) % PALETTE)
            start += len(laid)
    height = max(1, len(seen.packs)) * row
    svg = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {length} {height}",
        preserveAspectRatio="none",
        class_="map",
        style=f"height:{height}px",
    )
    title = f"{len(seen.packs)} packs, {100 * seen.efficiency:.1f} % full"
    note = "A row is a pack, a colour a sample; the dark part is a picture's tokens, the pale end is padding."
    return tag(
        "div", tag("h3", title), svg, tag("p", note, class_="small", style="margin:.6rem 0 0"), class_="chart card"
    )


def _bar(laid: LaidOut, start: int, y: int, colour: int) -> list[Html]:
    bars = [_rectangle(start, len(laid), y, f"c{colour}", f"{laid.sample.name}: {len(laid)} tokens")]
    return bars + [_rectangle(start + s.start, s.length, y, "shade", "", opacity=".22") for s in laid.spans]


def _rectangle(x: int, width: int, y: int, colour: str, title: str, opacity: str | None = None) -> Html:
    fill = "#000" if colour == "shade" else f"var(--{colour})"
    hint = tag("title", title) if title else None
    return tag(
        "rect",
        hint,
        x=x,
        y=y + 1,
        width=width,
        height=11,
        style=f"fill:{fill}",
        opacity=opacity,
        pointer_events=None if title else "none",
    )


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


def _lengths(seen: Survey, bars: int = 20) -> Html:
    lengths = [len(laid) for _, laid in seen.drawn]
    if not lengths:
        return Html()
    low, high = min(lengths), max(lengths) + 1
    width = max(1, -(-(high - low) // bars))
    edges = list(range(low, high + width, width))
    counts = [sum(edge <= length < edge + width for length in lengths) for edge in edges[:-1]]
    return charts.histogram(counts, edges, f"Length of {formats.amount(len(lengths))} samples")


def _refused(seen: Survey, shown: int = 5, most: int = 200) -> Html:
    if not seen.refused:
        return tag("p", "No sample was refused.", class_="note", style="margin-top:1rem")
    rows = [[bad.source, bad.place, bad.reason] for bad in list(seen.refused)[:most]]
    head = ("source", "sample", "reason")
    title = tag("h3", f"{len(seen.refused)} samples would be quarantined")
    rest = tag("details", tag("summary", f"{len(rows) - shown} more"), table(head, rows[shown:]))
    return tag("div", title, table(head, rows[:shown]), rest if len(rows) > shown else None)
