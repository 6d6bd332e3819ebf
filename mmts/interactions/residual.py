"""An earlier layer's output, added to a later layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmts.interactions.as_of import AsOf
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec
from mmts.tokens import Tokens


class ResidualConfig(InteractionSettings):
    """Adds one node to another, as of each token's time."""

    kind: Literal["residual"] = "residual"


class ResidualInteraction(Interaction):
    """Projected where widths differ or streams do; else scaled per channel.

    Within one stream and one width a channel means the same in both layers, and a scale per
    channel is enough. Between streams channels mean nothing to each other.
    Source: identity shortcuts of residual networks, arXiv 1512.03385, across layers and streams.
    """

    def __init__(
        self,
        config: ResidualConfig,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        (source,) = sources
        self.reader = AsOf(target, source, self.reach, time_unit)
        self.projection: nn.Linear | None = None
        self.channel_scale: nn.Parameter | None = None
        if self.reader.same_stream and source.dim == target.dim:
            self.channel_scale = nn.Parameter(torch.zeros(target.dim))
        else:
            self.projection = nn.Linear(self.reader.dim, target.dim, bias=False)
            nn.init.zeros_(self.projection.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return the projected source as of each target token."""
        values, _ = self.reader(target.grid, sources[0])
        added: Tensor
        if self.projection is not None:
            added = self.projection(values)
        else:
            assert self.channel_scale is not None
            added = values * self.channel_scale
        return added

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return what is left of the source token that is read."""
        return (self.reader.shares(target.grid, sources[0]),)
