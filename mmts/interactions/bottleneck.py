"""Several layers pass on what they hold through a few shared tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange, repeat
from pydantic import Field
from torch import Tensor, nn

from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.interactions.gathering import Gathered, Gathering
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.tokens import Tokens


class BottleneckConfig(InteractionSettings):
    """A few tokens gather from all sources; the target reads those tokens alone."""

    kind: Literal["bottleneck"] = "bottleneck"
    num_tokens: int = Field(4, gt=0, description="Shared tokens through which all must pass.")
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")
    fades: bool = Field(
        True, description="Whether all heads but the last look at what is near in time first."
    )


class BottleneckInteraction(Interaction):
    """Learned tokens attend to the sources, as of each target token, which attends to them.

    What passes is as wide as the shared tokens, whatever the number and length of the sources,
    so that the sources must share. One set of shared tokens for the whole window would carry
    later source tokens back to earlier target tokens; here each target token has a view of its
    own, of what it may see.
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
        heads = choose_num_heads(target.dim, config.num_heads)
        self.gathering = Gathering(target, sources, self.reach)
        self.shared = nn.Parameter(torch.randn(config.num_tokens, target.dim))
        self.collect = TimedAttention(
            query_dim=target.dim,
            source_dim=self.gathering.dim,
            num_heads=heads,
            time_unit=time_unit,
            zero_start=False,
            fades=config.fades,
        )
        self.hand_out = TimedAttention(target.dim, target.dim, heads, time_unit, zero_start=True)

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what each target token takes from the shared tokens."""
        seen: Gathered = self.gathering(target, sources)
        taken: Tensor = self.hand_out(*self._hand_out_arguments(target, seen))
        return rearrange(taken, "(batch token) 1 dim -> batch token dim", batch=len(target.values))

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return how much of each source token reaches each target token by way of the shared."""
        seen: Gathered = self.gathering(target, sources)
        collected = self.collect.shares(*self._collect_arguments(target, seen))
        handed_out = self.hand_out.shares(*self._hand_out_arguments(target, seen))
        batch = len(target.values)
        through = torch.einsum(
            "b t k, b t k s -> b t s",
            rearrange(handed_out, "(batch token) 1 shared -> batch token shared", batch=batch),
            rearrange(
                collected,
                "batch (token shared) source -> batch token shared source",
                shared=len(self.shared),
            ),
        )
        return seen.split(through)

    def _collect_arguments(self, target: Tokens, seen: Gathered) -> tuple[Tensor, ...]:
        batch, num_tokens = target.values.shape[:2]
        count = len(self.shared)
        shared = repeat(
            self.shared, "shared dim -> batch (token shared) dim", batch=batch, token=num_tokens
        )
        time = repeat(target.grid.middle, "batch token -> batch (token shared)", shared=count)
        visible = repeat(
            seen.visible, "batch token source -> batch (token shared) source", shared=count
        )
        return normalise(shared), seen.values, time, seen.time, visible

    def _hand_out_arguments(self, target: Tokens, seen: Gathered) -> tuple[Tensor, ...]:
        collected = self.collect(*self._collect_arguments(target, seen))
        shared = rearrange(
            collected,
            "batch (token shared) dim -> (batch token) shared dim",
            shared=len(self.shared),
        )
        query = rearrange(normalise(target.values), "batch token dim -> (batch token) 1 dim")
        # They stand where the target token stands.
        time = torch.zeros_like(shared[..., 0], dtype=torch.float32)
        present = repeat(
            seen.present, "batch token -> (batch token) 1 shared", shared=len(self.shared)
        )
        return query, normalise(shared), time[:, :1], time, present
