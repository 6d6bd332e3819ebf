"""From tokens to one vector per forecast step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmts.interactions.base import NodeSpec, normalise
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.layers.feed_forward import build_feed_forward
from mmts.tokens import TokenGrid, Tokens


class HorizonDecoder(nn.Module):
    """One query per forecast step.

    The query knows its step and the tokens of the known future that cover it; it then looks at
    the tokens of the target stream, and of every other stream that the head reads.
    """

    def __init__(
        self,
        horizon: int,
        dim: int,
        past: Mapping[str, NodeSpec],
        future: Mapping[str, NodeSpec],
        num_heads: int,
        dropout: float,
        time_unit: float,
    ) -> None:
        """Build for what the head reads.

        past: nodes that each step looks at, by name. future: nodes read by horizon step.
        time_unit: seconds per forecast step.
        """
        super().__init__()
        self.steps = nn.Parameter(torch.randn(horizon, dim) * 0.02)
        self.future = nn.ModuleDict(
            {name: nn.Linear(spec.dim, dim, bias=False) for name, spec in future.items()}
        )
        heads = choose_num_heads(dim, num_heads)
        self.query_norm = nn.LayerNorm(dim)
        self.past = nn.ModuleDict(
            {
                name: TimedAttention(dim, spec.dim, heads, time_unit, zero_start=False)
                for name, spec in past.items()
            }
        )
        self.feed_forward = build_feed_forward(dim, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, past: Mapping[str, Tokens], future: Mapping[str, Tokens], step_edges: Tensor
    ) -> Tensor:
        """Return (batch, horizon, dim).

        step_edges: (batch, horizon + 1) seconds relative to the origin.
        """
        start, end = step_edges[:, :-1], step_edges[:, 1:]
        query = self.steps.expand(len(step_edges), -1, -1)
        for name, project in self.future.items():
            tokens = future[name]
            covering = cover_steps(start, end, tokens.grid).to(tokens.values.dtype)
            query = query + project(covering @ normalise(tokens.values))
        normal, time = self.query_norm(query), (start + end) / 2
        for name, attention in self.past.items():
            tokens = past[name]
            grid = tokens.grid
            query = query + attention(
                normal, tokens.values, time, grid.middle, grid.observed[:, None, :]
            )
        output: Tensor = self.norm(query + self.feed_forward(query))
        return output


def cover_steps(start: Tensor, end: Tensor, grid: TokenGrid) -> Tensor:
    """Weigh the observed tokens that overlap each step, (batch, horizon, token) float32.

    start, end: (batch, horizon) seconds. Rows sum to one, or to zero where no token overlaps.
    """
    # An event has no length: it belongs to the step in which it begins.
    reaches = (grid.end[:, None, :] > start[:, :, None]) | (
        grid.start[:, None, :] >= start[:, :, None]
    )
    overlaps = (grid.start[:, None, :] < end[:, :, None]) & reaches
    overlaps = overlaps & grid.observed[:, None, :]
    return overlaps.float() / overlaps.sum(dim=-1, keepdim=True).clamp(min=1)
