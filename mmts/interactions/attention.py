"""One layer looks at another and takes what matters to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from mmts.interactions.alignment import visible_tokens
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens


class AttentionConfig(InteractionSettings):
    """Queries from the target, keys and values from the source."""

    kind: Literal["attention"] = "attention"
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")


class AttentionInteraction(Interaction):
    """Cross-attention in real time; a token that sees nothing takes the null key and gets zero."""

    def __init__(
        self, config: AttentionConfig, target: NodeSpec, source: NodeSpec, time_unit: float
    ) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__(config.dropout)
        self.causal = config.causal
        self.attention = TimedAttention(
            query_dim=target.dim,
            source_dim=source.dim,
            num_heads=choose_num_heads(target.dim, config.num_heads),
            time_unit=time_unit,
            zero_start=True,
        )

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token takes from the source."""
        (source,) = sources
        taken: Tensor = self.attention(
            normalise(target.values),
            normalise(source.values),
            target.grid.middle,
            source.grid.middle,
            visible_tokens(target.grid, source.grid, self.causal),
        )
        return taken
