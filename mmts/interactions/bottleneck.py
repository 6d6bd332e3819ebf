"""Several layers pass on what they hold through a few shared tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import rearrange, repeat
from pydantic import Field
from torch import Tensor, nn

from mmts.interactions.attending import AttendingSettings
from mmts.interactions.base import Interaction, NodeSpec, modulate, normalise
from mmts.interactions.gathering import Gathered, Gathering
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens


class BottleneckConfig(AttendingSettings):
    """A few tokens gather from all sources; the target reads those tokens alone."""

    kind: Literal["bottleneck"] = "bottleneck"
    num_tokens: int = Field(4, gt=0, description="Shared tokens through which all must pass.")


class BottleneckInteraction(Interaction):
    """Learned queries gather from the sources as of each target token, which reads the results.

    What passes is as much as the shared tokens hold, whatever the number and length of the
    sources, so that the sources must share. One set of shared tokens for the whole window would
    carry later source tokens back to earlier target tokens; here each target token has a view of
    its own, of what it may see.
    Source: attention bottlenecks, arXiv 2107.00135; latents that read, arXiv 2103.03206.
    """

    takes_several = True

    def __init__(
        self,
        config: BottleneckConfig,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one target and its sources; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        self.modulates = config.modulates
        self.gathering = Gathering(target, sources, self.reach)
        self.shared = nn.Parameter(torch.randn(config.num_tokens, target.dim))
        self.collect = TimedAttention(
            query_dim=target.dim,
            source_dim=self.gathering.dim,
            num_heads=choose_num_heads(target.dim, config.num_heads),
            time_unit=time_unit,
            zero_start=False,
            fades=config.fades,
            from_nearest=config.from_nearest,
            bounded=True,
            # For when there is nothing to see. As these queries are the same for all tokens, null
            # would be a mere switch, and one that is thrown before the projection has learned.
            null_score=-30.0,
        )
        self.projection = nn.Linear(
            config.num_tokens * target.dim, (1 + config.modulates) * target.dim, bias=False
        )
        nn.init.zeros_(self.projection.weight)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token reads from the shared tokens."""
        seen: Gathered = self.gathering(target, sources)
        collected = rearrange(
            self.collect(*self._collect_arguments(target, seen)),
            "batch (token shared) dim -> batch token (shared dim)",
            shared=len(self.shared),
        )
        taken: Tensor = self.projection(collected)
        return modulate(target.values, taken) if self.modulates else taken

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return how much the shared tokens take of each source token, mean of all of them."""
        seen: Gathered = self.gathering(target, sources)
        collected = rearrange(
            self.collect.shares(*self._collect_arguments(target, seen)),
            "batch (token shared) source -> batch token shared source",
            shared=len(self.shared),
        )
        return seen.split(collected.mean(dim=2))

    def _collect_arguments(self, target: Tokens, seen: Gathered) -> tuple[Any, ...]:
        batch, num_tokens = target.values.shape[:2]
        count = len(self.shared)
        shared = repeat(
            normalise(self.shared),
            "shared dim -> batch (token shared) dim",
            batch=batch,
            token=num_tokens,
        )
        time = repeat(target.grid.middle, "batch token -> batch (token shared)", shared=count)
        visible = repeat(
            seen.visible, "batch token source -> batch (token shared) source", shared=count
        )
        return shared, seen.values, time, seen.time, visible, seen.lengths
