"""One token an object: the few places of a feature map that stand out from their neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.connectors.connector import Connector, Located


class Peaks(Connector, name="peaks"):
    """Every place of the feature map says how salient it is; the most salient that no neighbour exceeds leave as
    tokens, in reading order, each with a learned position. Peaks of a heat map stand for objects as in "Objects as
    Points" (arXiv 1904.07850, section 4): the neighbourhood is 3 x 3, and there is no other suppression.

    What is salient is learned from regions (`region-tokens`); captions alone do not say where an object's place is.
    """

    class Config(Connector.Config):
        peaks: int = Field(default=8, ge=1, description="tokens that leave; where fewer stand out, the rest are blank")

        def out_tokens(self, tokens: int, grid: tuple[int, int]) -> int:
            return min(self.peaks, grid[0] * grid[1])

        def out_grid(self, tokens: int, grid: tuple[int, int]) -> None:
            return None

    config: Config

    def __init__(self, config: Config, in_dim: int, out_dim: int, grid: tuple[int, int]) -> None:
        super().__init__(config, in_dim, out_dim, grid)
        self.salience = nn.Linear(in_dim, 1)
        self.projection = nn.Linear(in_dim, out_dim)
        self.blank = nn.Parameter(torch.randn(out_dim) / 2)
        self.rows = nn.Parameter(torch.randn(grid[0], 1, out_dim) / 2)
        self.columns = nn.Parameter(torch.randn(1, grid[1], out_dim) / 2)

    def forward(self, features: Tensor) -> Tensor:
        tokens, logits = self._everywhere(features)
        highest = F.max_pool2d(logits[:, None], 3, stride=1, padding=1)[:, 0]
        salience = (logits.sigmoid() * (logits == highest)).flatten(1)
        chosen = self._chosen(salience)
        tokens = (tokens + self.rows + self.columns).flatten(1, 2)
        tokens = tokens.gather(1, chosen[..., None].expand(-1, -1, self.out_dim))
        return self.blank + salience.gather(1, chosen)[..., None] * (tokens - self.blank)

    def _chosen(self, salience: Tensor) -> Tensor:
        """The places `[n, peaks]` of the most salient, in reading order; behind them any others, which leave as blanks.
        A stable sort, so that it is the same order on every device where places are equally salient."""
        count = self.config.out_tokens(0, self.grid)
        most = salience.sort(dim=1, descending=True, stable=True).indices[:, :count]
        blank = salience.gather(1, most) == 0
        return (most + blank * salience.shape[1]).sort(dim=1).values % salience.shape[1]

    def located(self, features: Tensor) -> Located:
        return Located(*self._everywhere(features))

    def _everywhere(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """A token for every place, without its position, and a logit of its salience."""
        places = F.gelu(features[:, -self.grid[0] * self.grid[1] :]).unflatten(1, self.grid)
        return F.rms_norm(self.projection(places), (self.out_dim,)), self.salience(places)[..., 0]
