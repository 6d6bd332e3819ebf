"""Several layers' outputs, combined by learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmts.interactions.alignment import align
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.interactions.decay import build_decay
from mmts.tokens import Tokens


class WeightedConfig(InteractionSettings):
    """Adds a weighted sum of projected nodes; the weights, with one for none, sum to one."""

    kind: Literal["weighted"] = "weighted"


class WeightedInteraction(Interaction):
    """Softmax weights over the sources and a 'none' option.

    A source that is absent at a token leaves the softmax there, so that the others share its
    weight; where all are absent everything goes to 'none', which adds zero.
    """

    def __init__(
        self,
        config: WeightedConfig,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one target and any number of sources; time_unit: seconds per forecast step."""
        super().__init__(config.dropout)
        self.causal = config.causal
        self.projections = nn.ModuleList(
            nn.Linear(source.dim, target.dim, bias=False) for source in sources
        )
        self.decays = nn.ModuleList(build_decay(source.ageless, time_unit) for source in sources)
        self.logits = nn.Parameter(torch.zeros(len(sources) + 1))
        self.output = nn.Linear(target.dim, target.dim, bias=False)
        nn.init.zeros_(self.output.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return the weighted sum as of each target token."""
        projected, present = [], []
        for source, projection, decay in zip(sources, self.projections, self.decays, strict=True):
            aligned = align(target.grid, source, self.causal)
            projected.append(projection(normalise(aligned.values) * decay(aligned)))
            present.append(aligned.present)
        none = torch.ones_like(present[0])
        offered = torch.stack([*present, none], dim=-1)
        weights = self.logits.float().masked_fill(~offered, -torch.inf).softmax(dim=-1)
        stacked = torch.stack(projected, dim=-1)
        combined = (stacked * weights[:, :, None, :-1]).sum(dim=-1)
        output: Tensor = self.output(combined.to(stacked.dtype))
        return output

    def weights(self) -> Tensor:
        """Return the weights where every source is present, (source + 1,), 'none' last.

        They show what is mixed, not how much it matters: the projections behind them can undo
        any of them. Read the strength of the edge for that.
        """
        return self.logits.detach().float().softmax(dim=-1)
