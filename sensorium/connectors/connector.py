"""The connector contract: encoder features to the width of the language model."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sensorium.config import Part, PartConfig
from sensorium.errors import ConfigError


class Located(NamedTuple):
    """A token for each cell of a grid over each picture."""

    tokens: Tensor
    """`[n, rows, columns, out_dim]`"""
    salience: Tensor | None = None
    """`[n, rows, columns]`: logits that something is there, from connectors that pick places"""


def without_projection(name: str, in_dim: int, out_dim: int) -> None:
    """A `ConfigError` if features are to leave a connector in another width, and it has nothing that would do it."""
    if in_dim != out_dim:
        raise ConfigError(
            f"connector '{name}': features have width {in_dim}, the fusion takes {out_dim} and nothing projects them; "
            "choose a connector that does, or the fusion cross-attention, which takes any width"
        )


class Instruction(NamedTuple):
    """What is asked of each picture, for connectors that read it."""

    tokens: Tensor
    """`[n, reads, out_dim]`: embeddings of the language model"""
    mask: Tensor
    """bool `[n, reads]`: true where there is a token"""

    @classmethod
    def none(cls, count: int, dim: int, device: torch.device) -> Instruction:
        """Nothing is asked."""
        return cls(torch.zeros(count, 0, dim, device=device), torch.zeros(count, 0, dtype=torch.bool, device=device))


class Connector(nn.Module, Part, family="connector", package="sensorium.connectors"):
    """`[n, tokens, in_dim]` to `[n, out_tokens, out_dim]`; it knows the grid of the features it is given."""

    class Config(PartConfig):
        extra_tokens: ClassVar[int] = 0
        """Tokens before the grid, such as a class token, that the encoder must give."""
        takes_mask: ClassVar[bool] = False
        """whether `forward` takes a `mask`, bool `[n, tokens]`, true for the features that may be seen"""

        @property
        def reads(self) -> int:
            """How many tokens of an instruction its `forward` takes as `instruction`; 0 if it takes none."""
            return 0

        @property
        def reads_placeholders(self) -> bool:
            """Whether the token that stands for a picture in texts is part of an instruction."""
            return False

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            """How many tokens leave for `tokens` that enter from a feature map of `grid` (rows, columns)."""
            return tokens

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> tuple[int, int] | None:
            """The grid (rows, columns) on which the tokens that leave have places; None if they have none, as where
            some belong to the picture as a whole."""
            return grid if self.out_tokens(tokens, grid) == grid[0] * grid[1] else None

        @property
        def reads_text(self) -> bool:
            """Whether the connector also reads and writes texts, as objectives want that teach it beside them."""
            return False

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.in_dim, self.out_dim, self.grid = config, in_dim, out_dim, grid

    def attach(self, vocab_size: int) -> None:
        """Make what depends on the size of the vocabulary: once, when the model is built; by default nothing."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor: ...

    def cells(self, features: Tensor) -> Tensor:
        """The features that have places, as a map `[n, dim, rows, columns]`: without those before them, such as a class
        token."""
        return features[:, -self.grid[0] * self.grid[1] :].transpose(1, 2).unflatten(2, self.grid)

    def carried(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a connector of another config as this one needs them."""
        return state

    def shard_units(self) -> list[nn.Module]:
        """The modules that parallel training shards one by one."""
        return [self]

    def located(self, features: Tensor) -> Located:
        """What objectives read that look at places: the tokens of those features that have any. Where tokens belong to
        no place, the picture is one cell."""
        places = self.grid[0] * self.grid[1]
        grid = self.config.out_grid(places, self.grid)
        if grid is None:
            return Located(self.pooled(self(features))[:, None, None])
        return Located(self(features[:, -places:]).unflatten(1, grid))

    def pooled(self, tokens: Tensor) -> Tensor:
        """One vector for each picture or tile, `[n, out_dim]`, from what `forward` gave: what objectives read that
        look at pictures as a whole."""
        return tokens.mean(dim=1)


class OneToken(Connector.Config):
    """Base of the configs of connectors that make one token of a picture, as two towers want it."""

    def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
        return 1

    def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
        return None
