"""The tokens of target and sources attend together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.interactions.gathering import Gathered, Gathering
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens


class JointConfig(InteractionSettings):
    """Attention over the target's own tokens and those of the sources, in one softmax."""

    kind: Literal["joint"] = "joint"
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")
    fades: bool = Field(
        True, description="Whether all heads but the last look at what is near in time first."
    )


class JointInteraction(Interaction):
    """Each target token weighs its own stream against the others.

    The difference to `attention` is what a source token competes with: there the null key alone,
    here all that the target's own tokens have to tell as well. What the sources would take in
    return is another edge. Where no source token is seen the edge adds exactly zero, as an edge
    to an absent stream must.
    Source: one attention over the joined tokens of all modalities, arXiv 1906.00295 and
    arXiv 2107.00135 (there as early fusion).
    """

    takes_several = True

    def __init__(
        self, config: JointConfig, target: NodeSpec, sources: Sequence[NodeSpec], time_unit: float
    ) -> None:
        """Build for one target and its sources; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        # The target is a source beside the others, with a projection of its own.
        self.gathering = Gathering(target, [target, *sources], self.reach)
        self.attention = TimedAttention(
            query_dim=target.dim,
            source_dim=target.dim,
            num_heads=choose_num_heads(target.dim, config.num_heads),
            time_unit=time_unit,
            zero_start=True,
            fades=config.fades,
        )

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token takes from all tokens together."""
        seen: Gathered = self.gathering(target, [target, *sources])
        taken: Tensor = self.attention(
            normalise(target.values), seen.values, target.grid.middle, seen.time, seen.visible
        )
        return torch.where(self._sees_source(seen)[..., None], taken, 0.0)

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return how much each target token looks at each source token, mean of heads.

        What is missing to one went to the target's own tokens and to nothing.
        """
        seen: Gathered = self.gathering(target, [target, *sources])
        shares: Tensor = self.attention.shares(
            normalise(target.values), seen.values, target.grid.middle, seen.time, seen.visible
        )
        return seen.split(shares)[1:]

    def _sees_source(self, seen: Gathered) -> Tensor:
        """Return whether a target token sees a token of another node, (batch, token) bool."""
        return seen.visible[..., seen.lengths[0] :].any(dim=-1)
