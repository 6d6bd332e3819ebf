"""What every encoder offers: an embedding, layers that can be run one by one, and a final norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mmts.config_base import Config
from mmts.data.batch import StreamWindow
from mmts.data.config import StreamConfig
from mmts.data.schema import StreamSchema
from mmts.tokens import TokenGrid, Tokens


class EncoderSettings(Config):
    """Settings that all kinds share.

    A kind is a subclass that says which: `kind: Literal["patch"] = "patch"`.
    """

    kind: str
    dim: int = Field(64, gt=0, multiple_of=2, description="Width of the tokens.")
    num_layers: int = Field(3, gt=0, description="Layers; each is a node for interactions.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of activations left out.")

    def node_dims(self) -> tuple[int, ...]:
        """Return the width of every node: the embedding, then each layer."""
        return (self.dim,) * (self.num_layers + 1)

    def fault(self, stream: StreamConfig) -> str | None:
        """Return why this kind cannot read a stream, and what to do; None where it can."""
        return None


class Encoder(nn.Module, ABC):
    """One stream's way from a window to tokens.

    Its nodes are 0 (the embedding), 1 to `num_layers` (after each layer) and `out` (after the
    final norm). Layers may look both ways inside the window; the window itself ends at the origin.

    config_class: settings of the kind; only the user's own kinds must name it.
    schema: of the stream that is read.
    layers: each maps (tokens (batch, token, dim), grid) to (batch, token, dim of its node).
    norm: the final norm.
    causal: whether at every node a token depends only on itself and on tokens that stand before
        it, in the order of time. It is a statement about order, not about availability: where
        rows become known out of order, an earlier token may hold what was known later.
    """

    config_class: ClassVar[type[EncoderSettings]]
    causal: ClassVar[bool]
    layers: nn.ModuleList
    norm: nn.Module

    def __init__(
        self,
        config: EncoderSettings,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream; every kind takes the same, and what it needs of it.

        config: of the kind's own class. vocabulary_sizes: largest code of each category column.
        time_unit: seconds per forecast step.
        """
        super().__init__()
        self.schema = schema

    @abstractmethod
    def embed(self, window: StreamWindow) -> Tokens:
        """Turn one stream's window, zero where not observed, into tokens."""

    def run_layer(self, layer: int, tokens: Tokens) -> Tokens:
        """Run layer 1, 2, ... on the value of the node before it."""
        values: Tensor = self.layers[layer - 1](tokens.values, tokens.grid)
        return Tokens(values, tokens.grid)

    def run_norm(self, tokens: Tokens) -> Tokens:
        """Run the final norm."""
        values: Tensor = self.norm(tokens.values)
        return Tokens(values, tokens.grid)

    def keep(self, num_layers: int, with_norm: bool) -> None:
        """Drop the layers that nothing reads, so that every weight in the model is in use."""
        self.layers = self.layers[:num_layers]
        if not with_norm:
            self.norm = nn.Identity()


def step_grid(window: StreamWindow, ageless: bool) -> TokenGrid:
    """Return the grid of one token per step."""
    return TokenGrid(
        start=window.start,
        end=window.end,
        available=window.available,
        observed=window.observed.any(dim=-1),
        ageless=ageless,
    )


def latest_available(window: StreamWindow) -> Tensor:
    """Return when each step became known, (batch, step); -inf where nothing is observed."""
    return window.available.masked_fill(~window.observed.any(dim=-1), -torch.inf)
