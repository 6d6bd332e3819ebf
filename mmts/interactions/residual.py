"""An earlier layer's output, added to a later layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmts.interactions.alignment import align
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.interactions.decay import build_decay
from mmts.tokens import Tokens


class ResidualConfig(InteractionSettings):
    """Adds one node to another, as of each token's time."""

    kind: Literal["residual"] = "residual"


class ResidualInteraction(Interaction):
    """Projected where widths differ or streams do; else scaled per channel.

    Within one stream and one width a channel means the same in both layers, and a scale per
    channel is enough. Between streams channels mean nothing to each other.
    """

    def __init__(
        self,
        config: ResidualConfig,
        target: NodeSpec,
        source: NodeSpec,
        same_stream: bool,
        time_unit: float,
    ) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__(config.dropout)
        self.causal = config.causal
        self.decay = build_decay(source.ageless, time_unit)
        self.projection: nn.Linear | None = None
        self.channel_scale: nn.Parameter | None = None
        if same_stream and source.dim == target.dim:
            self.channel_scale = nn.Parameter(torch.zeros(target.dim))
        else:
            self.projection = nn.Linear(source.dim, target.dim, bias=False)
            nn.init.zeros_(self.projection.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return the projected source as of each target token."""
        (source,) = sources
        aligned = align(target.grid, source, self.causal)
        faded = normalise(aligned.values) * self.decay(aligned)
        if self.projection is not None:
            projected: Tensor = self.projection(faded)
            return projected
        assert self.channel_scale is not None
        scaled: Tensor = faded * self.channel_scale
        return scaled
