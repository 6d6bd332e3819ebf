"""The tokens of several sources in one row, for kinds that look at all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmts.interactions.alignment import Reach, visible_tokens
from mmts.interactions.base import NodeSpec, normalise
from mmts.interactions.centring import Centring
from mmts.layers.initialisation import keep_variance
from mmts.tokens import Tokens


@dataclass(frozen=True)
class Gathered:
    """Tokens of all sources, one source after the other.

    values: (batch, source token, dim), normalised. time: (batch, source token) seconds relative
    to the origin. visible: (batch, token, source token) bool, whether a target token may read it.
    lengths: tokens of each source.
    """

    values: Tensor
    time: Tensor
    visible: Tensor
    lengths: tuple[int, ...]

    @property
    def present(self) -> Tensor:
        """Return whether a target token sees anything at all, (batch, token) bool."""
        return self.visible.any(dim=-1)

    def split(self, shares: Tensor) -> tuple[Tensor, ...]:
        """Take (batch, token, source token) apart by source."""
        return torch.split(shares, list(self.lengths), dim=-1)


class Gathering(nn.Module):
    """Brings sources of any width to one: that of the only source, else that of the target.

    A projection of its own per source also tells the sources apart.
    """

    def __init__(self, target: NodeSpec, sources: Sequence[NodeSpec], reach: Reach) -> None:
        """Build for one target and its sources."""
        super().__init__()
        self.reach = reach
        self.centrings = nn.ModuleList([Centring(source.dim) for source in sources])
        self.dim = sources[0].dim if len(sources) == 1 else target.dim
        self.projections: nn.ModuleList | None = None
        if len(sources) > 1:
            projections = [nn.Linear(source.dim, target.dim, bias=False) for source in sources]
            for projection in projections:
                keep_variance(projection)
            self.projections = nn.ModuleList(projections)

    def forward(self, target: Tokens, sources: Sequence[Tokens]) -> Gathered:
        """Return the tokens of all sources, and which target token may read which."""
        values = [
            centre(normalise(source.values), source.grid.observed)
            for centre, source in zip(self.centrings, sources, strict=True)
        ]
        if self.projections is not None:
            values = [project(v) for project, v in zip(self.projections, values, strict=True)]
        grids = [source.grid for source in sources]
        return Gathered(
            values=torch.cat(values, dim=1),
            time=torch.cat([grid.middle for grid in grids], dim=1),
            visible=torch.cat([visible_tokens(target.grid, g, self.reach) for g in grids], dim=-1),
            lengths=tuple(v.shape[1] for v in values),
        )
