"""One layer looks at another and takes what matters to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from mmts.interactions.attending import AttendingSettings
from mmts.interactions.base import Interaction, NodeSpec, modulate, normalise
from mmts.interactions.gathering import Gathered, Gathering
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens


class AttentionConfig(AttendingSettings):
    """Queries from the target, keys and values from the source or sources."""

    kind: Literal["attention"] = "attention"
    bounded: bool = Field(
        True,
        description="Whether scores are kept in bounds; not so in checkpoints before format 3.",
    )


class AttentionInteraction(Interaction):
    """Cross-attention in real time; a token that sees nothing takes the null key and gets zero.

    Source: attention, arXiv 1706.03762, between two sequences.
    """

    takes_several = True

    def __init__(
        self,
        config: AttentionConfig,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one target and its sources; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        self.modulates = config.modulates
        self.gathering = Gathering(target, sources, self.reach)
        self.attention = TimedAttention(
            query_dim=target.dim,
            source_dim=self.gathering.dim,
            num_heads=choose_num_heads(target.dim, config.num_heads),
            time_unit=time_unit,
            zero_start=True,
            output_dim=(1 + config.modulates) * target.dim,
            bounded=config.bounded,
            fades=config.fades,
            from_nearest=config.from_nearest,
        )

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token takes from the sources."""
        seen: Gathered = self.gathering(target, sources)
        taken: Tensor = self.attention(*self._attention_arguments(target, seen))
        return modulate(target.values, taken) if self.modulates else taken

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return how much each target token looks at each source token, mean of heads."""
        seen: Gathered = self.gathering(target, sources)
        shares: Tensor = self.attention.shares(*self._attention_arguments(target, seen))
        return seen.split(shares)

    def _attention_arguments(self, target: Tokens, seen: Gathered) -> tuple[Any, ...]:
        query, time = normalise(target.values), target.grid.middle
        return query, seen.values, time, seen.time, seen.visible, seen.lengths
