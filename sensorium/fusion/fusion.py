"""The fusion contract: how features meet text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from sensorium.assembly.assembly import Pieces
from sensorium.backbones.backbone import Attention, Backbone
from sensorium.config import Part, PartConfig
from sensorium.data.batch import Batch
from sensorium.template import ChatTemplate

_ACTIVE: ContextVar[tuple[Fusion, Any] | None] = ContextVar("active", default=None)


class Fusion(nn.Module, Part, family="fusion", package="sensorium.fusion"):
    """Decides what stands for a picture in the sequence, where its features enter, and the attention mask the backbone
    gets. A fusion that reaches into the backbone's layers hooks them in `attach`, once; its hooks find what belongs to
    the batch at hand in `self.state`."""

    separate = False
    """Whether pictures never reach the text, so that the hidden states of a text depend on that text alone."""

    class Config(PartConfig):
        def media_dim(self, backbone: int, encoder: int) -> int:
            """The width of features, given those of the backbone and the encoder; by default the backbone's."""
            return backbone

        def written(self, pieces: Pieces, template: ChatTemplate) -> Pieces:
            """What stands in the sequence for a picture of these pieces; by default they do."""
            return pieces

        def marks(self, template: ChatTemplate) -> tuple[str, ...]:
            """What it writes that is to be one token each; by default nothing."""
            return ()

    def __init__(self, config: Config, dim: int, media_dim: int) -> None:
        super().__init__()
        self.config, self.dim, self.media_dim = config, dim, media_dim

    def attach(self, backbone: Backbone) -> None:
        """Make what depends on the backbone's layers, and hook them: once, when the model is built."""

    def begin(self, backbone: Backbone) -> None:
        """Begin with what the backbone knows: once, when a new model has its pre-trained weights."""

    @abstractmethod
    def forward(self, embeddings: Tensor, media: Tensor, batch: Batch) -> Tensor:
        """Text `embeddings` `[rows, tokens, dim]` and `media` `[n, media_dim]`, all features in order, to the
        backbone's input."""

    def attention(self, batch: Batch) -> Attention:
        """Who may attend to whom; by default what comes before in the same sample."""
        return Attention.within(batch.documents)

    def open(self, media: Tensor, batch: Batch) -> Any:
        """What hooks need while the backbone reads this batch; None if there are none."""
        return None

    def next(self, state: Any) -> Any:
        """The same for one more token of text in each row, when replies are written."""
        return state

    @contextmanager
    def during(self, state: Any) -> Iterator[None]:
        """Within it, on this thread, hooks find `state`."""
        token = _ACTIVE.set((self, state))
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    @property
    def state(self) -> Any:
        """What `open` gave, inside `during`; None outside of it."""
        active = _ACTIVE.get()
        return active[1] if active is not None and active[0] is self else None
