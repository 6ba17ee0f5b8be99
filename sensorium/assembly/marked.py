"""Tiles that the text names by row and column (Idefics3, arXiv 2408.12637; SmolVLM, arXiv 2504.05299; nanoVLM)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from sensorium.assembly.assembly import Assembly, Connect, Pieces, TileTokens
from sensorium.data.batch import Pictures
from sensorium.data.tiling import Cut


class Marked(Assembly, name="marked"):
    """Tile after tile, each behind marks that say where it belongs. The tokenizer writes them: one that knows
    `<row_1_col_1>` makes one token of it, others spell it out."""

    class Config(Assembly.Config):
        cell: str = Field(default="<row_{row}_col_{column}>", description="before each cell, counted from 1")
        row_end: str = Field(default="\n", description="behind each row of cells")
        whole: str = Field(default="<global-img>", description="before the thumbnail, or before a tile that is all")
        cells_end: str = Field(default="\n", description="behind all cells, if a thumbnail follows")
        end: str = Field(default="", description="behind the picture")

        @classmethod
        def idefics3(cls) -> Marked.Config:
            """As Idefics3 and SmolVLM write them."""
            around = "<fake_token_around_image>"
            return cls(cell=around + "<row_{row}_col_{column}>", whole=f"{around}<global-img>", end=around)

        @classmethod
        def nanovlm(cls) -> Marked.Config:
            """As nanoVLM writes them, for one picture."""
            return cls(whole="<|global_image|>", row_end="", cells_end="")

        def pieces(self, cut: Cut, tile: TileTokens) -> Pieces:
            plan, thumbnail = cut.plan, [self.whole, tile.tokens]
            if plan.tiles == 1:
                return _joined([*thumbnail, self.end])
            cells: list[str | int] = []
            for row in range(1, plan.rows + 1):
                for column in range(1, plan.columns + 1):
                    cells += [self.cell.format(row=row, column=column), tile.tokens]
                cells.append(self.row_end)
            if plan.thumbnail_last:
                cells.append(self.cells_end)
            return _joined([*(piece for part in plan.ordered(thumbnail, [cells]) for piece in part), self.end])

    def forward(self, features: Tensor, pictures: Pictures, connect: Connect) -> Tensor:
        return torch.flatten(connect(features), 0, 1)


def _joined(pieces: Pieces) -> Pieces:
    """Marks that follow each other as one text: a tokenizer may make one token of two line ends."""
    joined: list[str | int] = []
    for piece in filter(None, pieces):
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
