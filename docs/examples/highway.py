"""An interaction of one's own: another stream is let in through a learned gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmts.interactions.as_of import AsOf
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.tokens import Tokens


class HighwayConfig(InteractionSettings):
    """Adds one node to another, as far as a gate per channel lets it."""

    kind: Literal["highway"] = "highway"
    gate_bias: float = Field(-1.0, description="Of the gate at first: below 0 it is rather shut.")


class HighwayInteraction(Interaction):
    """Adds `gate * projected source`; the gate reads both nodes.

    Source: transform gates of highway networks, arXiv 1505.00387.
    """

    config_class = HighwayConfig

    def __init__(
        self, config: HighwayConfig, target: NodeSpec, sources: Sequence[NodeSpec], time_unit: float
    ) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        # What each target token may know of the source, however their clocks differ.
        self.reader = AsOf(target, sources[0], self.reach, time_unit)
        self.gate = nn.Linear(target.dim + self.reader.dim, target.dim)
        nn.init.constant_(self.gate.bias, config.gate_bias)
        # The last projection starts at zero and has no bias: at first the edge adds nothing, and
        # never anything where there is no source.
        self.projection = nn.Linear(self.reader.dim, target.dim, bias=False)
        nn.init.zeros_(self.projection.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what the gate lets in, (batch, token, dim)."""
        values, _ = self.reader(target.grid, sources[0])
        both = torch.cat([normalise(target.values), values], dim=-1)
        added: Tensor = torch.sigmoid(self.gate(both)) * self.projection(values)
        return added
