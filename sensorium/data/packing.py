"""Which samples share a row: bins of tokens, and of tiles where pictures have a budget of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Item = tuple[int, int]
"""Tokens and tiles of a sample."""
Packing = Literal["fullest", "first-fit", "first-fit-decreasing", "best-fit-decreasing"]


def choose(method: Packing, items: Sequence[Item], room: Item) -> list[int]:
    """The indices, in order, of the `items` that leave as the next row; `room` is that of a row.

    `fullest` and `first-fit` take the oldest and what goes with it. The decreasing ones pack all the items, which are
    not to grow until all have left.
    """
    if method in ("first-fit-decreasing", "best-fit-decreasing"):
        return sorted(decreasing(items, room, best=method == "best-fit-decreasing")[0])
    (tokens, tiles), rest = items[0], items[1:]
    left = room[0] - tokens, room[1] - tiles
    chosen = fullest([item[0] for item in rest], left[0]) if method == "fullest" else []
    if not chosen or sum(rest[i][1] for i in chosen) > left[1]:
        chosen = first_fit(rest, left)
    return [0, *(i + 1 for i in chosen)]


def fullest(lengths: Sequence[int], room: int) -> list[int]:
    """The indices of the `lengths` that together fill `room` best; of equally good choices one of early indices.

    Exact: bit `n` of `sums[i]` says whether some of the first `i` lengths add up to `n`.
    """
    sums, within = [1], (1 << (room + 1)) - 1
    for length in lengths:
        sums.append((sums[-1] | sums[-1] << length) & within)
    filled, chosen = sums[-1].bit_length() - 1, []
    for i in range(len(lengths) - 1, -1, -1):
        if not sums[i] >> filled & 1:
            chosen.append(i)
            filled -= lengths[i]
    return chosen[::-1]


def first_fit(items: Sequence[Item], room: Item) -> list[int]:
    """The indices of the items that fit into `room` beside those before them."""
    chosen, (tokens, tiles) = [], room
    for i, item in enumerate(items):
        if item[0] <= tokens and item[1] <= tiles:
            chosen.append(i)
            tokens, tiles = tokens - item[0], tiles - item[1]
    return chosen


def decreasing(items: Sequence[Item], room: Item, best: bool) -> list[list[int]]:
    """Bins of indices: the longest item first, each into the first bin with room or into the one that it fills `best`.

    What is in other bins does not matter to a bin's, so that the rest is packed alike when the first has left.
    """
    bins: list[list[int]] = []
    left: list[Item] = []
    for i in sorted(range(len(items)), key=lambda i: -items[i][0]):
        tokens, tiles = items[i]
        fitting = [b for b, (free, places) in enumerate(left) if tokens <= free and tiles <= places]
        if not fitting:
            bins.append([])
            left.append(room)
            fitting = [len(bins) - 1]
        chosen = min((left[b][0], b) for b in fitting)[1] if best else fitting[0]
        bins[chosen].append(i)
        left[chosen] = left[chosen][0] - tokens, left[chosen][1] - tiles
    return bins
