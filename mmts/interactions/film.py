"""One layer scales and shifts the channels of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mmts.interactions.as_of import AsOf
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, modulate
from mmts.tokens import Tokens


class FilmConfig(InteractionSettings):
    """Multiplies and shifts one node by another, as of each token's time."""

    kind: Literal["film"] = "film"


class FilmInteraction(Interaction):
    """Adds `scale * target + shift`, both read from the source.

    What multiplies need not be learned as a product by the layers that follow, so this is the
    quickest way for one stream to set the regime of another.
    Source: feature-wise linear modulation, arXiv 1709.07871.
    """

    def __init__(
        self, config: FilmConfig, target: NodeSpec, sources: Sequence[NodeSpec], time_unit: float
    ) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        self.reader = AsOf(target, sources[0], self.reach, time_unit)
        self.projection = nn.Linear(self.reader.dim, 2 * target.dim, bias=False)
        nn.init.zeros_(self.projection.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what modulation adds to each target token."""
        values, _ = self.reader(target.grid, sources[0])
        return modulate(target.values, self.projection(values))

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return what is left of the source token that is read."""
        return (self.reader.shares(target.grid, sources[0]),)
