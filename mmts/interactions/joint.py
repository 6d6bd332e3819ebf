"""The tokens of target and sources attend together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mmts.interactions.attending import AttendingSettings
from mmts.interactions.base import Interaction, NodeSpec, modulate, normalise
from mmts.interactions.gathering import Gathered, Gathering
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens

_OWN_SCORE = -2.0
"""Added to the score of the target's own tokens: what the others tell is heard first."""


class JointConfig(AttendingSettings):
    """Attention over the target's own tokens and those of the sources, in one softmax."""

    kind: Literal["joint"] = "joint"


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
        self.modulates = config.modulates
        self.fades = config.fades
        # The target is a source beside the others, with a projection of its own.
        self.gathering = Gathering(target, [target, *sources], self.reach)
        self.attention = TimedAttention(
            query_dim=target.dim,
            source_dim=target.dim,
            num_heads=choose_num_heads(target.dim, config.num_heads),
            time_unit=time_unit,
            zero_start=True,
            output_dim=(1 + config.modulates) * target.dim,
            bounded=True,
            fades=config.fades,
            from_nearest=config.from_nearest,
        )

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token takes from all tokens together."""
        seen: Gathered = self.gathering(target, [target, *sources])
        taken: Tensor = self.attention(*self._attention_arguments(target, seen))
        sees_source = seen.visible[..., seen.lengths[0] :].any(dim=-1)
        taken = torch.where(sees_source[..., None], taken, 0.0)
        return modulate(target.values, taken) if self.modulates else taken

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return how much each target token looks at each source token, mean of heads.

        What is missing to one went to the target's own tokens and to nothing.
        """
        seen: Gathered = self.gathering(target, [target, *sources])
        shares: Tensor = self.attention.shares(*self._attention_arguments(target, seen))
        return seen.split(shares)[1:]

    def _attention_arguments(self, target: Tokens, seen: Gathered) -> tuple[Any, ...]:
        query = normalise(target.values)
        offset = None
        if self.fades:
            offset = torch.zeros_like(seen.time[0])
            offset[: seen.lengths[0]] = _OWN_SCORE
        time = target.grid.middle
        return query, seen.values, time, seen.time, seen.visible, seen.lengths, offset
